"""Every failed trial says what to do."""

import pytest
from optuna.trial import TrialState
from study_support import run_study, spec

from helpers.results.remedies import is_out_of_memory_reason, remedy
from helpers.results.tables import summary_rows
from helpers.study.factory import load_study


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("out of memory, use batch_size 1 or a smaller model (OutOfMemoryError: CUDA)", "batch_size"),
        ("the training's process was killed (SIGKILL): most likely the system was out of memory", "batch_size"),
        ("NonFiniteError: loss is nan", "lr"),
        ("trial_timeout of 5 s reached after 1 of 7 epochs", "trial_timeout"),
        ("the training's process crashed with signal 11 (SIGSEGV)", "--workers 1"),
        ("ValueError: anything else", "run.log"),
    ],
)
def test_a_reason_has_its_remedy(reason, words):
    assert words in remedy(reason)
    assert is_out_of_memory_reason(reason) == ("memory" in reason)


def test_rows_of_failed_trials_end_with_what_to_do(tmp_path):
    def breaks(config, run_dir, hooks, resume):
        raise ValueError("no such thing")

    with pytest.raises(RuntimeError, match="3 trials failed in a row"):
        run_study(spec(tmp_path, breaks, trials=4))
    rows = summary_rows(load_study(tmp_path / "toy"))
    failed = [row for row in rows if row["state"] == TrialState.FAIL.name]
    assert len(failed) == 3
    assert all(row["note"] == "ValueError: no such thing; to do: see run.log of the trial" for row in failed)

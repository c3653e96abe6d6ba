"""How many files of helpers a reader passes through from `run` to the first report of a trial."""

import inspect
import sys
from pathlib import Path

import optuna
from study_support import run_study, spec

import helpers

HELPERS = Path(helpers.__file__).parent
MOST_FILES = 25  # to be lowered, never raised


def test_few_files_lie_between_the_verb_and_the_first_report(tmp_path, monkeypatch):
    run_study(spec(tmp_path / "warm", trials=1, epochs=1))  # what is imported and registered once is not on the way
    seen = set()

    def note(frame, event, argument):
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and HELPERS in path.parents:
            seen.add(path.relative_to(HELPERS).as_posix())

    report = optuna.Trial.report

    def first_report(*arguments):
        sys.setprofile(None)
        report(*arguments)

    monkeypatch.setattr(optuna.Trial, "report", first_report)
    sys.setprofile(note)
    try:
        study = run_study(spec(tmp_path / "read", trials=1, epochs=1))
    finally:
        sys.setprofile(None)
    assert len(study.trials[0].intermediate_values) == 1
    assert {"api.py", "study/loop.py", "study/report_hook.py"} <= seen
    assert len(seen) <= MOST_FILES, sorted(seen)

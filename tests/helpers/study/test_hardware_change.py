"""What a trial computed on is stored, and a change within a study is warned about."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import optuna

from helpers.results.attributes import HARDWARE
from helpers.study.report_hook import TrialReporter

T4 = {"precision": "fp16", "device": "Tesla T4", "driver": "580.82"}
L4 = {"precision": "bf16", "device": "NVIDIA L4", "driver": "580.82"}


def test_another_gpu_within_a_study_is_warned_about_once_per_trial(tmp_path, caplog):
    study = optuna.create_study()
    file = SimpleNamespace(multi=False, metrics=["val_loss"], constraints=[], limits=[])

    def begin(hardware):
        caplog.clear()
        trial = study.ask()
        with caplog.at_level(logging.WARNING):
            TrialReporter(study, trial, file, 1, None, tmp_path).start([], 0, hardware)
        assert study.trials[trial.number].user_attrs[HARDWARE] == hardware
        return [record.getMessage() for record in caplog.records]

    assert begin(T4) == []
    assert begin(T4) == []
    (warning,) = begin(L4)
    for part in ("trial 2", "NVIDIA L4 in bf16", "trial 1", "Tesla T4 in fp16", "580.82"):
        assert part in warning
    assert begin(L4) == []

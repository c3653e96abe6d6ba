"""Shared by tests: report."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from gazegaussian.config import MeshHeadRun

LR = FloatDistribution(1e-5, 1e-2, log=True)


EPOCHS = 10


def study_of(*trials, metric="val_loss", **attributes):
    """A study in memory; trials are (state, value, epochs, attributes, lr)."""
    study = optuna.create_study(study_name="planted")
    config = MeshHeadRun(training={"epochs": EPOCHS}).model_dump_json()
    for name, value in {"metric": metric, "config": config, "stage": "meshhead", **attributes}.items():
        study.set_user_attr(name, value)
    for state, value, epochs, attrs, lr in trials:
        finished = state == TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                value=value if finished else None,
                params={"lr": lr},
                distributions={"lr": LR},
                user_attrs=attrs,
                intermediate_values=dict.fromkeys(range(epochs), value),
            )
        )
    return study


BASE = (TrialState.COMPLETE, 1.0, EPOCHS, {"baseline": True, "seconds": 20.0}, 1e-3)


def failed(reason, **attributes):
    return (TrialState.FAIL, 9.0, 2, {"fail_reason": reason, "seconds": 3.0, **attributes}, 1e-3)

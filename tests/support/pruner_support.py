"""Shared by tests of pruners: a study of planted learning curves."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution

LR = {"lr": FloatDistribution(1e-5, 1e-1, log=True)}


def planted(curves, direction="minimize", storage=None, constraints=None) -> optuna.Study:
    """A study that finished these curves, each valued at its best."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="planted", direction=direction, storage=storage, sampler=sampler)
    best = min if direction == "minimize" else max
    for number, curve in enumerate(curves):
        trial = study.ask(LR)
        for epoch, value in enumerate(curve):
            trial.report(float(value), epoch)
        if constraints:
            trial.set_constraint("c", constraints[number])
        study.tell(trial, float(best(curve)))
    return study

"""Shared by tests: importance."""

from __future__ import annotations

import random

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

UNIT = FloatDistribution(0.0, 1.0)


def planted(count, seed=0, conditional=False, value=lambda x: (x - 0.3) ** 2, directions=("minimize",)):
    """Trials whose value depends on `strong` alone."""
    study = optuna.create_study(directions=directions)
    study.set_user_attr("metric", "val_loss")
    generator = random.Random(seed)
    for number in range(count):
        parameters = {"strong": generator.random(), "idle": generator.random(), "kind": generator.choice("ab")}
        distributions = {"strong": UNIT, "idle": UNIT, "kind": CategoricalDistribution(("a", "b"))}
        if conditional and number % 2:
            parameters["sometimes"] = generator.random()
            distributions["sometimes"] = UNIT
        values = [value(parameters["strong"])] * len(directions)
        study.add_trial(create_trial(params=parameters, distributions=distributions, values=values))
    return study

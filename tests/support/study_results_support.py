"""Shared by tests: study results."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial


def study_of(directions, trials, metric):
    """Trials are (values, violations)."""
    study = optuna.create_study(study_name="several", directions=directions)
    study.set_user_attr("metric", metric)
    for number, (values, constraints) in enumerate(trials):
        parameters = {"x": number / 10, "y": (number * 7 % 5) / 5}
        unit = FloatDistribution(0.0, 1.0)
        study.add_trial(
            create_trial(
                params=parameters, distributions=dict.fromkeys(parameters, unit), values=values, constraints=constraints
            )
        )
    return study

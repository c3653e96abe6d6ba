"""Small studies in a store, and what a fresh process would read of them."""

from __future__ import annotations

import optuna

from helpers.storage.backends import open_storage


def open_study(url, folder, name="toy"):
    return optuna.create_study(
        study_name=name, storage=open_storage(url, folder), load_if_exists=True, pruner=optuna.pruners.NopPruner()
    )


def add_trial(study, reports=2):
    trial = study.ask()
    x = trial.suggest_float("x", 0, 1)
    for step in range(reports):
        trial.report(x + step, step)
    study.tell(trial, x)
    return trial.number


def content(url, folder):
    """What a fresh process would read."""
    trials = open_study(url, folder).trials
    return [(t.number, t.state, t.values, t.params, t.intermediate_values) for t in trials]


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text

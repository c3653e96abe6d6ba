"""Shared by tests: a finished study, ready to be exported."""

from __future__ import annotations

import optuna
import pytest
from synthetic_support import heads, mesh_run

from gazegaussian.build import train_run
from helpers.results.attributes import BASELINE, CONFIG, ENVIRONMENT, SAMPLER_SEED, STAGE


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory):
    """A study of stage one: the baseline and a best trial that was trained for one epoch."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    run = mesh_run(root=str(heads()[0].root), max_train_images=2)
    study = optuna.create_study(study_name="small", storage=f"sqlite:///{make(folder) / 'study.db'}")
    attributes = {"metric": "val_loss", STAGE: "meshhead", CONFIG: run.model_dump_json(), SAMPLER_SEED: 3}
    attributes[ENVIRONMENT] = {"code": "0123456789ab"}
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    params = {"lr": 2e-3}
    place = folder / "trial_0001"
    result = train_run(run.model_copy(update={"optim": run.optim.model_copy(update=params)}), place)
    space = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2)}
    for number, value in enumerate((9.0, result.best_metric)):
        stored = {"folder": str(folder / f"trial_{number:04d}"), **({BASELINE: True} if number == 0 else {})}
        chosen = {"lr": 1e-3} if number == 0 else params
        study.add_trial(optuna.trial.create_trial(value=value, params=chosen, distributions=space, user_attrs=stored))
    for name in ("report.html", "report.md"):
        (folder / name).write_text(f"a {name}")
    return folder


def make(folder):
    folder.mkdir(parents=True)
    return folder

"""Which models the sliders show: the best trial of the newest study beside its baseline, or a training."""

import json
import os

import optuna
import pytest
from synthetic_support import heads

from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training import checkpoint_files as files
from helpers.notebook import model_selection as redirect_models
from helpers.notebook.redirect_widget import open_comparison, open_panel
from helpers.results.attributes import BASELINE


def make_study(out, name, values, baseline=0, stage="gazegaussian", without=()):
    """A study's folder with a trial per value and a file in place of each checkpoint."""
    folder = out / name
    folder.mkdir(parents=True)
    study = optuna.create_study(study_name=name, storage=f"sqlite:///{folder / 'study.db'}")
    study.set_user_attr("metric", "val_loss")
    for number, value in enumerate(values):
        place = folder / f"trial_{number:04d}"
        place.mkdir()
        if number not in without:
            (place / "best.pt").touch()
        attributes = {"folder": str(place), **({BASELINE: True} if number == baseline else {})}
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs=attributes))
    (folder / "best.json").write_text(json.dumps({"stage": stage}))
    return folder


def test_the_winner_of_the_newest_study_is_found_and_set_beside_the_baseline(tmp_path):
    old = make_study(tmp_path, "old", [1.0])
    (old / "best.json").touch()
    folder = make_study(tmp_path, "new", [3.0, 2.0, 1.5])
    make_study(tmp_path, "other_stage", [0.1], stage="meshhead")
    make_study(tmp_path, "gazegaussian_smoke", [0.1])
    for seconds, name in enumerate(("old", "new", "other_stage", "gazegaussian_smoke")):
        path = tmp_path / name / "best.json"
        os.utime(path, (seconds, seconds))
    best = redirect_models.best_model(tmp_path)
    assert best.checkpoint == folder / "trial_0002" / "best.pt"
    assert best.title == "new, trial 2: val_loss 1.5"
    assert [model.title for model in redirect_models.rivals(tmp_path)] == [
        "new, trial 2: val_loss 1.5",
        "new, trial 0 (baseline): val_loss 3",
    ]


def test_a_thinned_baseline_is_replaced_by_the_next_best(tmp_path):
    make_study(tmp_path, "thinned", [3.0, 2.0, 1.5], without=(0,))
    assert [model.title.split(":")[0] for model in redirect_models.rivals(tmp_path)] == [
        "thinned, trial 2",
        "thinned, trial 1",
    ]


def test_without_a_study_the_newest_training_is_shown(tmp_path, checkpoints, monkeypatch):
    monkeypatch.setattr(files, "DEMO_FILE", tmp_path / "nowhere")  # else it is the shipped model
    with pytest.raises(ConfigError, match="Expected a finished GazeGaussian study or training under"):
        redirect_models.best_model(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "best.pt").write_bytes(checkpoints[0].read_bytes())
    (tmp_path / "mine" / "config.yaml").write_text("stage: gazegaussian\n")
    (tmp_path / "stage_one").mkdir()
    (tmp_path / "stage_one" / "best.pt").touch()
    (tmp_path / "stage_one" / "config.yaml").write_text("stage: meshhead\n")
    assert redirect_models.best_model(tmp_path).title == "mine"
    assert len(open_comparison(None, heads()[1].root, tmp_path).renderers) == 1
    make_study(tmp_path, "gazegaussian_smoke", [0.1])
    assert redirect_models.best_model(tmp_path).title == "mine", "a rehearsal comes after it"


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"No checkpoint at .*gone\.pt"):
        open_panel(tmp_path / "gone.pt")

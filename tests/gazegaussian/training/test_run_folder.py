"""`train` into a used folder: goes on, is done, or rejects; never mixes two trainings."""

import csv
import logging
from pathlib import Path

import pytest
from run_folder_support import (
    config,
    small_stage,  # noqa: F401  fixtures
)
from trainer_support import LineStage, StopAfter

import helpers
from gazegaussian import build
from gazegaussian.config import GazeGaussianRun, with_parameters
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.checkpoints import load_checkpoint


def content(folder):
    """Every file of a run with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def epochs_on_disk(folder):
    with (folder / "metrics.csv").open() as stream:
        rows = [int(row["epoch"]) for row in csv.DictReader(stream)]
    images = sorted(path.stem for path in (folder / "images").iterdir())
    assert images == [f"epoch_{epoch:04d}" for epoch in rows]
    return rows


def test_a_finished_training_is_left_as_it_is(tmp_path, caplog):
    first = helpers.train(config(), tmp_path)
    before = content(tmp_path)
    with caplog.at_level(logging.INFO):
        again = helpers.train(config(), tmp_path)
    assert content(tmp_path) == before
    assert (again.best_metric, again.best_epoch, again.history) == (first.best_metric, first.best_epoch, first.history)
    assert (
        "already finished after 3 epochs: nothing to do; give more --epochs, another --out or delete the folder"
        in caplog.text
    )


def test_an_interrupted_training_goes_on_with_the_same_call(tmp_path):
    whole = helpers.train(config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        build.train_run(config(), tmp_path / "cut", [StopAfter(1)])
    resumed = helpers.train(config(), tmp_path / "cut")
    assert [row["val_loss"] for row in resumed.history] == [row["val_loss"] for row in whole.history]
    assert epochs_on_disk(tmp_path / "cut") == [1, 2, 3]


def test_a_kill_between_the_first_epochs_two_checkpoints_loses_nothing(tmp_path):
    helpers.train(config(epochs=1), tmp_path)
    (tmp_path / "last.pt").unlink()
    result = helpers.train(config(epochs=2), tmp_path)
    assert len(result.history) == 2
    assert "resumed" in (tmp_path / "run.log").read_text()


def test_a_new_folder_is_named_with_its_whole_path(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        for _ in range(2):
            helpers.train(config(), Path("made") / "here")
    assert [m for m in caplog.messages if "created now" in m] == [
        f"results: {tmp_path / 'made' / 'here'} (created now; choose another folder with --out)"
    ]


def test_fewer_epochs_say_how_many_there_are(tmp_path):
    helpers.train(config(), tmp_path)
    before = content(tmp_path)
    with pytest.raises(ConfigError, match=r"3 of 3 epochs finished, and 1 was asked for: give --epochs 3 or more"):
        helpers.train(config(epochs=1), tmp_path)
    assert content(tmp_path) == before


def test_more_epochs_go_on(tmp_path):
    three = helpers.train(config(), tmp_path).history
    five = helpers.train(config(epochs=5), tmp_path).history
    assert five[:3] == three
    assert epochs_on_disk(tmp_path) == [1, 2, 3, 4, 5]


def test_an_early_stop_is_an_end(tmp_path, monkeypatch, caplog):
    values = [1.0, 2.0, 3.0]
    monkeypatch.setattr(build, "build_stage", lambda config: LineStage(validation=values))
    stopped = helpers.train(config(epochs=9, patience=2), tmp_path)
    assert len(stopped.history) == 3
    with caplog.at_level(logging.INFO):
        again = helpers.train(config(epochs=9, patience=2), tmp_path)  # another epoch would find no value
    assert "nothing to do; give another --out or delete the folder" in caplog.text, "more epochs would not be trained"
    assert (again.history, again.stop_reason) == (stopped.history, stopped.stop_reason)
    resumed = build.train_run(config(epochs=9, patience=2), tmp_path, resume=True)
    assert resumed.history == stopped.history


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.02, "seed": 1}, r"lr: 0\.01 -> 0\.02; seed: 0 -> 1|seed: 0 -> 1; lr: 0\.01 -> 0\.02"),
        ({"epochs": 2, "lr": 0.02}, r"lr: 0\.01 -> 0\.02; epochs: 3 -> 2|epochs: 3 -> 2; lr: 0\.01 -> 0\.02"),
        ({"root": "elsewhere"}, r"root \(--data\): embedded synthetic heads -> .*elsewhere"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_touched(tmp_path, changes, named):
    helpers.train(config(), tmp_path)
    before = content(tmp_path)
    with pytest.raises(ConfigError, match=rf"({named})\).*another --out") as caught:
        helpers.train(config(**changes), tmp_path)
    assert "device" not in str(caught.value)
    assert content(tmp_path) == before


def test_the_other_stage_is_refused(tmp_path):
    helpers.train(config(), tmp_path)
    with pytest.raises(ConfigError, match="stage: meshhead -> gazegaussian"):
        helpers.train(with_parameters(GazeGaussianRun(), {"device": "cpu"}), tmp_path)


def test_where_and_how_fast_may_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    helpers.train(config(root="data"), tmp_path / "run")
    runtime = {"device": "auto", "workers": 2, "threads": 1, "cache": "heads", "preview_images": 0}
    same = config(root=str(tmp_path / "data"), **runtime)  # the same folder by another name
    assert len(helpers.train(same, tmp_path / "run").history) == 3


def test_a_fresh_training_leaves_nothing_old_beside_the_new(tmp_path):
    build.train_run(config(epochs=4), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    build.train_run(config(epochs=2, lr=0.03), tmp_path)
    assert epochs_on_disk(tmp_path) == [1, 2]
    assert "epoch 4/4" not in (tmp_path / "run.log").read_text()
    assert load_checkpoint(tmp_path / "best.pt")["config"]["optim"]["lr"] == 0.03
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_last_checkpoint_is_not_taken_for_an_empty_folder(tmp_path):
    """With best.pt it goes on from there (test_faults.py); without, it says so."""
    helpers.train(config(), tmp_path)
    (tmp_path / "last.pt").write_bytes(b"half")
    (tmp_path / "best.pt").write_bytes(b"half of it")
    with pytest.raises(CheckpointError, match=r"last\.pt is no readable checkpoint"):
        helpers.train(config(), tmp_path)
    assert (tmp_path / "best.pt").read_bytes() == b"half of it"

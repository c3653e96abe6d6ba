"""What a trial leaves for the dashboard: once, whole, bounded, and never at the trial's expense."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from dashboard_support import NONE, pictured
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from PIL import Image
from study_support import fake_train, line_train, run_study, spec

from gazegaussian.errors import NonFiniteError
from gazegaussian.training.hooks import Hook
from gazegaussian.utils.image_grid import save_image
from helpers import load_study
from helpers.results.artifacts import ARTIFACTS, CURVE, VALIDATION, WIDEST, attach
from helpers.results.pictures import SIZE, captioned_row, draw_curve
from helpers.results.ranking import best_trial
from helpers.results.run_files import METRICS


def attached(study, trial):
    """Content of the artifacts of a trial, by name; each name once."""
    metas = get_all_artifact_meta(trial, storage=study._storage)
    assert max(Counter(meta.filename for meta in metas).values(), default=1) == 1
    return metas


def content(folder, metas, name):
    (meta,) = [meta for meta in metas if meta.filename == name]
    return (folder / ARTIFACTS / meta.artifact_id).read_bytes()


def test_a_trial_leaves_the_images_of_its_best_epoch_its_curve_and_its_table(tmp_path):
    def train(config, run_dir, hooks, resume):
        run_dir.mkdir(parents=True)
        (run_dir / METRICS).write_text("epoch,val_loss\n1,0.5\n2,0.25\n3,0.75\n")
        for epoch in (1, 2, 3):
            save_image(run_dir / "images" / f"epoch_{epoch:04d}.png", np.full((3, 8, 2 * WIDEST), epoch / 4))
        return fake_train(config, run_dir, hooks, resume)

    study = run_study(spec(tmp_path, train, trials=1, **NONE))
    metas = attached(study, study.trials[0])
    assert {meta.filename for meta in metas} == {VALIDATION, CURVE, METRICS}
    picture = Image.open(io.BytesIO(content(tmp_path / "toy", metas, VALIDATION)))
    assert picture.width == WIDEST
    assert picture.getpixel((0, 0)) == (128, 128, 128), "not the second epoch"
    rows = list(csv.DictReader(io.StringIO(content(tmp_path / "toy", metas, METRICS).decode())))
    assert [row["val_loss"] for row in rows] == ["0.5", "0.25", "0.75"]


def test_interruptions_and_retries_pile_nothing_up(tmp_path):
    calls = []

    class Interrupt(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            calls.append(epoch)
            if len(calls) in (3, 5):
                raise KeyboardInterrupt

    def interrupted(config, run_dir, hooks, resume):
        return pictured(config, run_dir, [*hooks, Interrupt()], resume)

    asked = spec(tmp_path, interrupted, trials=1, **NONE)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study(asked)
    study = run_study(asked)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert [len(attached(study, trial)) for trial in study.trials] == [0, 0, 3]
    assert len(list((tmp_path / "toy" / ARTIFACTS).iterdir())) == 3
    assert content(tmp_path / "toy", attached(study, study.trials[2]), METRICS).count(b"\n") == 1 + 8


def test_attaching_again_adds_nothing(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    save_image(tmp_path / "trial" / "images" / "epoch_0001.png", np.zeros((3, 8, 8)))
    for _ in range(2):
        attach(trial, tmp_path / "trial", "val_loss", True)
    assert [meta.filename for meta in attached(study, study.trials[0])] == [VALIDATION]
    assert len(list((tmp_path / ARTIFACTS).iterdir())) == 1


def test_pruned_and_failed_trials_keep_what_they_have(tmp_path):
    def train(config, run_dir, hooks, resume):
        if run_dir.name == "trial_0001":
            line_train(config, run_dir, [], resume)
            raise NonFiniteError("bad loss")
        return pictured(config, run_dir, hooks, resume)

    eager = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 2}}
    study = run_study(spec(tmp_path, train, trials=2, pruner=eager))
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    names = [sorted(meta.filename for meta in attached(study, trial)) for trial in study.trials]
    assert names == [[CURVE, METRICS, VALIDATION]] * 3


def test_what_cannot_be_attached_costs_the_trial_nothing(tmp_path, monkeypatch, caplog):
    def full(self, artifact_id, content_body):
        self._get_filepath(artifact_id).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("optuna.artifacts.FileSystemArtifactStore.write", full)
    study = run_study(spec(tmp_path, pictured, trials=1, **NONE))
    assert study.trials[0].state == TrialState.COMPLETE
    assert "trial 0: nothing is attached for the dashboard: [Errno 28] No space left" in caplog.text
    assert list((tmp_path / "toy" / ARTIFACTS).iterdir()) == [], "half of a file was left"


def test_a_damaged_picture_costs_the_trial_nothing(tmp_path, caplog):
    def train(config, run_dir, hooks, resume):
        (run_dir / "images").mkdir(parents=True)
        (run_dir / "images" / "epoch_0001.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
        return fake_train(config, run_dir, hooks, resume)

    study = run_study(spec(tmp_path, train, trials=1, **NONE))
    assert study.trials[0].state == TrialState.COMPLETE
    assert "nothing is attached" in caplog.text


def test_the_drawn_curve_marks_the_best_epoch_where_it_is():
    low = np.asarray(draw_curve([3.0, 1.0, 2.0], 1, "val_loss", "trial"))
    high = np.asarray(draw_curve([1.0, 3.0, 2.0], 1, "val_loss", "trial"))
    rings = [np.argwhere((picture == (0xD5, 0x5E, 0x00)).all(-1)).mean(0) for picture in (low, high)]
    assert rings[0][0] > rings[1][0] + 100, "small values belong below"
    single = draw_curve([0.5], 0, "val_loss", "trial")
    assert single.size == SIZE


def test_captioned_pictures_stand_side_by_side_in_their_order(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (50, 20), colour).save(tmp_path / f"{name}.png")
    row = captioned_row([(tmp_path / "a.png", "trial 1"), (tmp_path / "b.png", "trial 2")], 100)
    assert row.getpixel((50, row.height - 5)) == (255, 0, 0)
    assert row.getpixel((row.width - 50, row.height - 5)) == (0, 0, 255)
    caption = np.asarray(row)[: row.height - 40]
    assert (caption < 128).any(), "no caption"


NAMED = "t{number:03d}_lr{lr:.1e}"


def test_trials_bear_the_names_of_the_scheme_in_folder_log_and_storage(tmp_path, caplog):
    with caplog.at_level("INFO"):
        study = run_study(spec(tmp_path, line_train, trials=2, trial_name=NAMED, **NONE))
    for trial in study.trials:
        name = NAMED.format(number=trial.number, **trial.params)
        assert trial.user_attrs["name"] == name
        assert (tmp_path / "toy" / name / "metrics.csv").is_file()
        assert f"trial {trial.number} ({name}) finished" in caplog.text
    assert not list((tmp_path / "toy").glob("trial_*"))
    best = json.loads((tmp_path / "toy" / "best.json").read_text())
    assert Path(best["checkpoint"]).parent.name == best_trial(study).user_attrs["name"]


def test_named_trials_are_resumed_and_another_scheme_leaves_the_old_names(tmp_path):
    class Interrupt(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    epochs = []

    class Count(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            epochs.append(epoch)

    def with_hook(hook):
        return lambda config, run_dir, hooks, resume: line_train(config, run_dir, [*hooks, hook], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, with_hook(Interrupt()), trials=1, trial_name="first{number}", **NONE))
    run_study(spec(tmp_path, with_hook(Count()), trials=1, trial_name="second{number}", **NONE))
    assert epochs == [4, 5, 6, 7]
    assert [t.user_attrs["name"] for t in load_study(tmp_path / "toy").trials] == ["first0", "second1"]


def test_a_function_may_name_trials_and_never_takes_a_folder_twice(tmp_path):
    names = iter(["../../figures", "same", "same", "best.json", "ähnlich/1"])
    asked = replace(spec(tmp_path, line_train, trials=5, **NONE), trial_name=lambda trial: next(names))
    study = run_study(asked)
    given = [t.user_attrs["name"] for t in study.trials]
    assert given == ["figures_0000", "same", "same_0002", "best.json_0003", "hnlich-1"]
    assert all((tmp_path / "toy" / name / "last.pt").is_file() for name in given)


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ("trial", r"needs \{number\}"),
        ("{number}_{width}", r"holds \{width\}; known fields: number, lr"),
        ("{number.__class__}", "known fields"),
        ("{number}_{lr:d}", "cannot write lr"),
        ("{number:0999999999}", "cannot use the format"),
        ("{number:{lr}}", "cannot use the format"),
        ("{number", "no format string"),
    ],
)
def test_a_scheme_that_cannot_work_is_refused_at_birth(tmp_path, scheme, told):
    with pytest.raises(ValueError, match=told):
        spec(tmp_path, trial_name=scheme)

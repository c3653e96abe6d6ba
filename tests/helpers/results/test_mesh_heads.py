"""Stage two starts from the MeshHead checkpoint that it should, and says which."""

import json
import logging
import os
import shutil

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from synthetic_support import _folder, gaze_run, mesh_run, mesh_stage, train

from gazegaussian import build
from gazegaussian.config import GazeGaussianRun, with_parameters
from gazegaussian.errors import ConfigError
from helpers import make_config, save_results
from helpers.results.mesh_heads import best_mesh_head


@pytest.fixture
def results(tmp_path):
    """A MeshHead study with two trials' checkpoints, and a GazeGaussian study that started from the first."""
    out = tmp_path / "results"
    for number in (0, 1):
        folder = out / "mesh" / f"trial_{number:04d}"
        folder.mkdir(parents=True)
        (folder / "best.pt").write_bytes(b"weights %d" % number)
    best = {"stage": "meshhead", "parameters": {"lr": 0.5}, "trial": 1}
    best["checkpoint"] = str(out / "mesh" / "trial_0001" / "best.pt")
    (out / "mesh" / "best.json").write_text(json.dumps(best))
    run = GazeGaussianRun(meshhead_checkpoint=out / "mesh" / "trial_0000" / "best.pt")
    study = optuna.create_study(study_name="gaze")
    for name, value in (("stage", "gazegaussian"), ("metric", "val_loss"), ("config", run.model_dump_json())):
        study.set_user_attr(name, value)
    study.add_trial(create_trial(params={"lr": 0.25}, distributions={"lr": FloatDistribution(0, 1)}, value=1.0))
    (out / "gaze").mkdir()
    save_results(study, out / "gaze")
    return out


@pytest.mark.parametrize("name", ["best.json", "best.yaml"])
def test_a_winner_brings_the_checkpoint_its_trials_started_from(results, name):
    run = make_config("gazegaussian", params=results / "gaze" / name, out=results)
    assert run.meshhead_checkpoint == results / "mesh" / "trial_0000" / "best.pt"
    assert run.optim.lr == 0.25
    assert make_config("gazegaussian", out=results).meshhead_checkpoint == best_mesh_head(results)
    named = make_config("gazegaussian", params=results / "gaze" / name, out=results, meshhead=results / "mine.pt")
    assert named.meshhead_checkpoint == results / "mine.pt"


def test_a_rehearsal_is_the_last_choice(results):
    rehearsed = results / "meshhead_smoke"
    shutil.copytree(results / "mesh", rehearsed)
    best = json.loads((rehearsed / "best.json").read_text()) | {"checkpoint": str(rehearsed / "trial_0001" / "best.pt")}
    (rehearsed / "best.json").write_text(json.dumps(best))
    os.utime(rehearsed / "trial_0001" / "best.pt", (2e9, 2e9))
    assert best_mesh_head(results).parent.parent == results / "mesh"


def test_a_winner_says_where_it_is_from(results):
    content = json.loads((results / "gaze" / "best.json").read_text())
    assert (content["stage"], content["study"], content["trial"]) == ("gazegaussian", "gaze", 0)
    assert content["meshhead_checkpoint"]["path"] == str(results / "mesh" / "trial_0000" / "best.pt")
    assert len(content["meshhead_checkpoint"]["sha256"]) == 64


def test_moved_results_are_found_again(results, tmp_path):
    shutil.move(results, tmp_path / "drive")
    run = make_config("gazegaussian", params=tmp_path / "drive" / "gaze" / "best.json", out=tmp_path / "drive")
    assert run.meshhead_checkpoint == tmp_path / "drive" / "mesh" / "trial_0000" / "best.pt"
    assert best_mesh_head(tmp_path / "drive") == tmp_path / "drive" / "mesh" / "trial_0001" / "best.pt"


def test_another_checkpoint_in_its_place_is_not_taken_for_it(results):
    (results / "mesh" / "trial_0000" / "best.pt").write_bytes(b"weights 9")
    with pytest.raises(
        ConfigError, match=r"started from the MeshHead checkpoint .*trial_0000/best.pt.*has changed since"
    ):
        make_config("gazegaussian", params=results / "gaze" / "best.json", out=results)
    (results / "mesh" / "trial_0000" / "best.pt").unlink()
    with pytest.raises(ConfigError, match=r"is gone\. Give --meshhead"):
        make_config("gazegaussian", params=results / "gaze" / "best.json", out=results)


@pytest.mark.parametrize(("stage", "study"), [("gazegaussian", "mesh"), ("meshhead", "gaze")])
def test_parameters_of_the_other_stage_say_so(results, stage, study):
    other = {"mesh": "meshhead", "gaze": "gazegaussian"}[study]
    with pytest.raises(ConfigError, match=f"best parameters of stage {other}, but you train {stage}"):
        make_config(stage, params=results / study / "best.json", out=results)


def test_plain_parameters_belong_to_any_stage(tmp_path):
    (tmp_path / "mine.yaml").write_text("lr: 0.125\n")
    for stage, path in (("meshhead", None), ("gazegaussian", tmp_path / "best.pt")):
        assert make_config(stage, params=tmp_path / "mine.yaml", meshhead=path).optim.lr == 0.125


def mesh_study(out, name, image_size, age):
    """A finished MeshHead study whose winner was trained `age` seconds ago."""
    checkpoint = out / name / "trial_0000" / "best.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(name.encode())
    os.utime(checkpoint, (1e9 - age, 1e9 - age))
    if image_size is not None:
        (checkpoint.parent / "config.yaml").write_text(f"stage: meshhead\ndata:\n  image_size: {image_size}\n")
    (out / name / "best.json").write_text(json.dumps({"stage": "meshhead", "checkpoint": str(checkpoint)}))
    return checkpoint


@pytest.mark.parametrize(
    ("studies", "chosen"),
    [
        ({"meshhead_quick": (128, 9), "throw_away": (128, 1)}, "meshhead_quick"),
        ({"meshhead_quick": (256, 1), "mine": (128, 9)}, "mine"),
        ({"meshhead_demo": (256, 1), "old": (128, 9), "new": (128, 2)}, "new"),
        ({"meshhead_quick": (None, 1), "mine": (128, 9)}, "mine"),
        ({"unknown": (None, 9), "other": (256, 1)}, "unknown"),
        ({"meshhead_quick": (256, 9), "other": (512, 1)}, "meshhead_quick"),
    ],
)
def test_stage_two_starts_from_the_study_of_its_sizes_and_not_from_a_throw_away_one(tmp_path, studies, chosen, caplog):
    for name, (size, age) in studies.items():
        mesh_study(tmp_path, name, size, age)
    with caplog.at_level(logging.INFO):
        run = make_config("gazegaussian", out=tmp_path)  # gazegaussian_quick.yaml, 128 px
    assert run.meshhead_checkpoint == tmp_path / chosen / "trial_0000" / "best.pt"
    text = caplog.text
    assert f"MeshHead of study {chosen}" in text
    assert "--meshhead" in text
    assert all(f"{name} (" in text for name in studies), "an alternative is not named"
    assert ("has 128 px" in text) == (studies[chosen][0] not in (128, None))


def test_a_finished_study_that_is_looked_at_again_does_not_become_the_newest(tmp_path):
    mesh_study(tmp_path, "old", 128, 9)
    new = mesh_study(tmp_path, "new", 128, 1)
    (tmp_path / "old" / "best.json").touch()
    assert best_mesh_head(tmp_path, 128) == new


def test_the_log_names_the_checkpoint(tmp_path, caplog):
    run = mesh_run(epochs=1, max_train_images=2)
    checkpoint = train(mesh_stage(run), run, tmp_path).best_checkpoint
    config = with_parameters(gaze_run(), {"root": _folder().name}).model_copy(
        update={"meshhead_checkpoint": checkpoint}
    )
    with caplog.at_level(logging.INFO, "gazegaussian"):
        build.build_stage(config)
    assert f"starts from MeshHead checkpoint {checkpoint}" in caplog.messages

"""`import`, `--init-from` and `--meshhead` with published checkpoints: the commands in this process, one in its own."""

import json
import logging

import pytest
import torch
from cli_support import assert_bad_input, run, workplace  # noqa: F401  fixtures
from published_support import gaze_file, mesh_file, small_gaze_gaussian, small_mesh_head
from typer.testing import CliRunner

from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.checkpoints import load_checkpoint
from train_gazegaussian_optuna import app

STUDY = """
study_name: begun
trials: 2
epochs: 1
search_space:
  a:
    lr: {type: float, min: 1e-4, max: 1e-2, log: true}
    pose_mlp_width: {type: categorical, choices: [16, 24]}
"""
COMMON = ("--data", "data", "--device", "cpu")


@pytest.fixture
def call(workplace, monkeypatch, caplog):
    """Run a command here; what it raises is raised."""
    monkeypatch.chdir(workplace)
    caplog.set_level(logging.INFO)

    def command(*args):
        result = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


@pytest.fixture(scope="module")
def theirs(workplace):
    """Published checkpoints of both stages."""
    mesh_head = small_mesh_head()
    mesh_file(mesh_head, workplace / "mesh_theirs.pt")
    gaze_file(small_gaze_gaussian(mesh_head), workplace / "gaze_theirs.pt")
    (workplace / "begun.yaml").write_text(STUDY)
    return mesh_head


@pytest.fixture
def imported(call, theirs):
    stages = ("mesh", "gaze")
    return {
        stage: json.loads(call("import", f"{stage}_theirs.pt", "--out", f"{stage}_ours", "--json")) for stage in stages
    }


def test_import_says_what_it_made_and_what_it_left(imported, run):
    assert imported["mesh"]["stage"] == "meshhead"
    assert imported["gaze"]["variant"] == "released"
    assert [name for names in imported["mesh"]["unused"].values() for name in names] == ["optimizer"]
    left = [name for names in imported["gaze"]["unused"].values() for name in names]
    assert {"iden_offset", "epoch", "neural_render.bg_featmap"} <= set(left)
    done = run("import", "gaze_theirs.pt", "--out", "gaze_again")
    assert done.returncode == 0, done.stderr
    assert "not known to this program: epoch" in done.stderr
    assert "gaze_again/best.pt" in done.stdout
    assert_bad_input(run("import", "nowhere.pt"), "No checkpoint at nowhere.pt")


def test_an_imported_model_is_evaluated(imported, call):
    printed = json.loads(call("evaluate", "gaze_ours/best.pt", *COMMON, "--pairs", 2, "--json"))
    assert printed["variant"] == "released"
    assert printed["metrics"]["psnr"]["value"] > 0


def test_errors(imported, call):
    with pytest.raises(CheckpointError, match="another checkpoint already"):
        call("import", "gaze_theirs.pt", "--out", "mesh_ours")
    args = ("train", "meshhead", "--config", "meshhead.yaml", *COMMON, "--out", "x1", "--init-from")
    with pytest.raises(CheckpointError, match="`import`"):
        call(*args, "mesh_theirs.pt")
    with pytest.raises(CheckpointError, match="stage 'gazegaussian'"):
        call(*args, "gaze_ours/best.pt")
    args = ("train", "gazegaussian", "--config", "gazegaussian.yaml", *COMMON, "--init-from", "gaze_ours/best.pt")
    with pytest.raises(ConfigError, match=r"--meshhead or --init-from, got both"):
        call(*args, "--meshhead", "mesh_ours/best.pt", "--out", "x1")


def test_training_begins_with_an_import_and_redirects(imported, call, workplace, caplog):
    args = ("train", "gazegaussian", "--config", "gazegaussian.yaml", *COMMON, "--init-from", "gaze_ours/best.pt")
    done = json.loads(call(*args, "--epochs", 1, "--out", "gaze_tuned", "--json"))
    assert "start anew: renderer" in caplog.text
    assert load_checkpoint(workplace / done["checkpoint"])["variant"] == "released"
    for checkpoint in (done["checkpoint"], "gaze_ours/best.pt"):
        strip = ("--data", "data", "--subject", "subject0001", "--pitch", 0, "--yaw", 20, "--out", "tuned.png")
        call("redirect", checkpoint, *strip)
        assert (workplace / "tuned.png").stat().st_size > 0
        (workplace / "tuned.png").unlink()


def test_stage_two_of_ours_starts_from_an_imported_mesh_head(imported, call, workplace):
    args = ("train", "gazegaussian", "--config", "gazegaussian.yaml", *COMMON, "--meshhead", "mesh_ours/best.pt")
    call(*args, "--epochs", 1, "--out", "gaze_ours_trained")
    assert load_checkpoint(workplace / "gaze_ours_trained" / "best.pt")["variant"] == "default"


def test_trials_of_a_study_begin_with_the_import_and_resume_with_it(imported, theirs, call, workplace, caplog):
    files = ("--config", "meshhead.yaml", "--study", "begun.yaml", *COMMON, "--out", "results")
    args = ("study", "meshhead", *files, "--workers", 1)
    call(*args, "--init-from", "mesh_ours/best.pt", "--no-audit")
    assert "search of pose_mlp_width" in caplog.text
    for number in (0, 1):
        content = load_checkpoint(workplace / "results" / "begun" / f"trial_{number:04d}" / "best.pt")
        assert content["variant"] == "released"
        assert torch.equal(content["model"]["tets"], theirs.tets)
        moved = (content["model"]["geometry.layers.0.weight"] - theirs.geometry.layers[0].weight).abs().max()
        assert moved < 0.05  # an epoch of a few steps away from where it began
    call(*args, "--n-trials", 3, "--no-audit")
    content = load_checkpoint(workplace / "results" / "begun" / "trial_0002" / "best.pt")
    assert content["config"]["init_from"].endswith("mesh_ours/best.pt")
    torch.save({**content, "history": []}, workplace / "another.pt")
    with pytest.raises(ConfigError, match=r"begin with the weights of .*another\.pt.*--study-name"):
        call(*args, "--init-from", "another.pt", "--n-trials", 4, "--no-audit")

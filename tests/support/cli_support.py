"""Shared by tests: the script as a process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from forked_script import run_forked
from repository import ROOT

from gazegaussian.data import SyntheticSettings, synthesize


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    synthesize(
        folder / "data", SyntheticSettings(people=2, size=64, frames=1, cameras=4, test_people=1), progress=False
    )
    (folder / "meshhead.yaml").write_text(TINY_MESHHEAD)
    (folder / "gazegaussian.yaml").write_text(TINY_GAZE)
    return folder


@pytest.fixture(scope="module")
def run(workplace, repo_root):
    def call(*args):
        args = [str(word) for word in args]
        if args[:1] != ["study"] and "--help" not in args:
            return run_forked(args, workplace)
        command = [sys.executable, str(repo_root / "train_gazegaussian_optuna.py"), *args]  # it may start workers
        return subprocess.run(command, capture_output=True, text=True, cwd=workplace, check=False)

    return call


def run_command(*args, code=0):
    """Run the script anywhere and expect an exit code."""
    command = [sys.executable, str(ROOT / "train_gazegaussian_optuna.py"), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def assert_bad_input(done, *parts):
    assert done.returncode == 2, (done.stdout, done.stderr)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in errors[0]


TINY_MESHHEAD = """
stage: meshhead
data: {image_size: 64, max_train_images: 4, max_val_images: 2}
model: {grid_resolution: 12, geometry_width: 16, shape_mlp_width: 16, pose_mlp_width: 16, eye_mlp_width: 16}
training: {epochs: 2, warm_start_steps: 60, preview_images: 2}
"""


TINY_GAZE = """
stage: gazegaussian
data: {image_size: 64, max_train_images: 2, max_val_images: 2}
model: {face_subdivisions: 0, eye_subdivisions: 1, dit_head_dim: 2, dit_depth: 4}
loss: {perceptual_start_epoch: 1}
training: {epochs: 2, preview_images: 2}
"""

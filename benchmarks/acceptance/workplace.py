"""Data, configurations and commands that the checks share. Small: seconds per training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gazegaussian.build import train_run
from gazegaussian.config import GazeGaussianRun, MeshHeadRun, RunConfig, load_run, with_parameters
from gazegaussian.data import HeadDataset, SyntheticSettings, synthesize
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.hooks import Hook
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.trainer import TrainResult
from helpers.utils.paths import SCRIPT

SIZE = 64

MESH = """
stage: meshhead
data: {image_size: 64, max_train_images: 4, max_val_images: 2}
model: {grid_resolution: 12, geometry_width: 16, shape_mlp_width: 16, pose_mlp_width: 16, eye_mlp_width: 16}
training: {epochs: EPOCHS, warm_start_steps: 60, preview_images: 2, batch_size: 2}
"""
GAZE = """
stage: gazegaussian
data: {image_size: 64, max_train_images: 2, max_val_images: 2}
model: {face_subdivisions: 0, eye_subdivisions: 1, dit_head_dim: 2, dit_depth: 2}
loss: {perceptual_start_epoch: 0}
training: {epochs: EPOCHS, preview_images: 2, batch_size: 2}
"""
STUDY = """
study_name: NAME
trials: 2
metric: val_loss
direction: minimize
sampler: {name: random}
pruner: {name: none}
search_space:
  optimisation:
    lr: {type: float, min: 1.0e-4, max: 1.0e-3, log: true}
"""


def small_data(out: Path) -> Path:
    """Three synthetic people, drawn once."""
    folder = out / "data"
    if not folder.is_dir():
        synthesize(folder, SyntheticSettings(people=2, size=SIZE, frames=1, cameras=4, test_people=1), progress=False)
    return folder


def small_files(out: Path, epochs: int = 2) -> None:
    """Configurations and study files of both stages: `mesh.yaml`, `mesh_study.yaml`, and the same of gaze."""
    for name, text in (("mesh", MESH), ("gaze", GAZE)):
        (out / f"{name}.yaml").write_text(text.replace("EPOCHS", str(epochs)), encoding="utf-8")
        (out / f"{name}_study.yaml").write_text(STUDY.replace("NAME", name), encoding="utf-8")


def call_of(*args: str | Path) -> list[str]:
    """A call of the command line."""
    return [sys.executable, str(SCRIPT), *map(str, args)]


def call(*args: str | Path) -> None:
    """Run a command of the command line; its output is this process's.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    subprocess.run(call_of(*args), check=True)


def small_study(out: Path, stage: str, *more: str | Path) -> list[str | Path]:
    """Words of a small study of a stage, isolated and audited as on any GPU."""
    name = "mesh" if stage == "meshhead" else "gaze"
    files: list[str | Path] = [
        "--config",
        out / f"{name}.yaml",
        "--study",
        out / f"{name}_study.yaml",
        "--data",
        out / "data",
    ]
    return ["study", stage, *files, "--device", "cuda", "--out", out / "studies", *more]


def train_in_little_memory(
    config: RunConfig, folder: Path, hooks: Sequence[Hook] = (), resume: bool = False
) -> TrainResult:
    """Train; the first trial of a study has next to nothing of the device's memory."""
    if folder.name.startswith("trial_0000"):
        torch.cuda.set_per_process_memory_fraction(1e-6)
    return train_run(config, folder, hooks, resume)


def stages_on(device: str, out: Path, **parameters: Any) -> tuple[MeshHeadStage, GazeGaussianStage]:
    """Both small stages with the same weights on any device."""
    given = {"device": "cpu", **parameters}
    runs = [with_parameters(load_run(out / f"{name}.yaml"), given) for name in ("mesh", "gaze")]
    mesh_run, gaze_run = runs
    assert isinstance(mesh_run, MeshHeadRun)
    assert isinstance(gaze_run, GazeGaussianRun)
    train, validation = (HeadDataset(small_data(out), split, SIZE, cache=True) for split in ("train", "val"))
    torch.manual_seed(0)
    mesh = MeshHeadStage(mesh_run, train, validation)
    mesh.prepare()
    torch.manual_seed(0)
    gaze = GazeGaussianStage(gaze_run, mesh.module, train, validation)
    for stage in (mesh, gaze):
        stage.to(torch.device(device))
    return mesh, gaze

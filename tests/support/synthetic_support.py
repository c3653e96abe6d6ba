"""Small synthetic heads and small stages for the tests of models, losses and stages."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch

from gazegaussian.config import GazeGaussianRun, MeshHeadRun, with_parameters
from gazegaussian.data import HeadDataset, SyntheticSettings, synthesize
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.training.checkpoints import save_checkpoint
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.stage import Stage
from gazegaussian.training.trainer import Trainer, TrainResult
from gazegaussian.types import Batch

torch.set_num_threads(1)  # these networks are so small that waking a second thread costs ten times the work

SIZE = 64
CAMERAS = 4
_TRAINING = {"batch_size": 2, "epochs": 1, "device": "cpu", "warm_start_steps": 60, "preview_images": 0}


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Two people, one frame of four cameras each, and a test person; written once per session, removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="synthetic_heads_")
    synthesize(
        Path(folder.name),
        SyntheticSettings(people=2, size=SIZE, frames=1, cameras=CAMERAS, test_people=1),
        progress=False,
    )
    return folder


@functools.cache
def heads() -> tuple[HeadDataset, HeadDataset]:
    """Training person and validation person."""
    train, validation = (HeadDataset(_folder().name, split, SIZE, cache=True) for split in ("train", "val"))
    return train, validation


def batch(count: int = 2) -> Batch:
    """First images of the training person."""
    return heads()[0].batch(list(range(count)))


def mesh_run(**parameters: object) -> MeshHeadRun:
    """A run of stage one that takes a second; `parameters` by bare name."""
    small = {"image_size": SIZE, "grid_resolution": 12, "geometry_width": 16, "max_val_images": 2}
    widths = {"shape_mlp_width": 16, "pose_mlp_width": 16, "eye_mlp_width": 16}
    return with_parameters(MeshHeadRun(), {**_TRAINING, **small, **widths, **parameters})


def gaze_run(**parameters: object) -> GazeGaussianRun:
    """A run of stage two that takes a second; `parameters` by bare name."""
    small = {"image_size": SIZE, "max_val_images": 2, "face_subdivisions": 0, "eye_subdivisions": 1}
    renderer = {"dit_depth": 2, "dit_num_heads": 4, "dit_patch_size": 4, "dit_head_dim": 4}
    optim = {"perceptual_start_epoch": 0, "lr": 1e-3}
    return with_parameters(GazeGaussianRun(), {**_TRAINING, **small, **renderer, **optim, **parameters})


def mesh_stage(run: MeshHeadRun | None = None, seed: int = 0) -> MeshHeadStage:
    """Stage one with fresh weights."""
    torch.manual_seed(seed)
    return MeshHeadStage(run or mesh_run(), *heads())


@functools.cache
def _warm_mesh_head() -> MeshHead:
    stage = mesh_stage()
    stage.prepare()
    return stage.module


def gaze_stage(
    run: GazeGaussianRun | None = None, mesh_head: MeshHead | None = None, seed: int = 0
) -> GazeGaussianStage:
    """Stage two with fresh weights on a warm-started (not trained) MeshHead."""
    mesh_head = mesh_head or _warm_mesh_head()
    torch.manual_seed(seed)
    return GazeGaussianStage(run or gaze_run(), mesh_head, *heads())


def train(stage: Stage, run: MeshHeadRun | GazeGaussianRun, folder: Path) -> TrainResult:
    """Train as the program does."""
    return Trainer(stage, run.training, run.optim, folder, (), run.model_dump(mode="json")).fit()


def jiggle(module: torch.nn.Module, scale: float = 0.1, seed: int = 0) -> None:
    """Move every parameter off its start (zeros hide mistakes)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def without_gradient(stage: Stage, steps: int, lr: float = 1e-3) -> set[str]:
    """Names of trainable parameters whose gradient stays zero, or at rounding, over optimiser steps.

    Args:
        stage: Small stage.
        steps: Optimiser steps over the training batches.
        lr: Learning rate.
    """
    run = stage.config  # type: ignore[attr-defined]
    optimizer = torch.optim.Adam(stage.parameter_groups(run.optim), lr=lr)
    largest = {name: 0.0 for name, parameter in stage.module.named_parameters() if parameter.requires_grad}
    for step in range(steps):
        optimizer.zero_grad()
        rows = next(iter(stage.batches(step)))
        torch.stack(list(stage.losses(rows, 0).values())).sum().backward()
        for name, parameter in stage.module.named_parameters():
            if parameter.grad is not None:
                largest[name] = max(largest[name], parameter.grad.abs().max().item())
        optimizer.step()
    return {name for name, value in largest.items() if value < 1e-8}


def untrained_checkpoints(folder: Path, count: int = 2) -> list[Path]:
    """Write small untrained GazeGaussians whose eyes answer to gaze.

    Returns:
        Their `best.pt`.
    """
    run = gaze_run()
    paths = []
    for seed in range(count):
        stage = gaze_stage(run, seed=seed)
        jiggle(stage.model.eyes, seed=seed)
        trainer = Trainer(stage, run.training, run.optim, folder / f"model_{seed}", (), run.model_dump(mode="json"))
        paths.append(folder / f"model_{seed}" / "best.pt")
        save_checkpoint(paths[-1], trainer._state())
    return paths

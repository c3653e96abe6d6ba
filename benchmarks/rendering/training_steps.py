"""Time whole training steps of both stages against the naive way, the SDF, the render of an image, and the DiT's growth.

    python -m benchmarks.rendering.training_steps [--device cuda] [--sizes full] [--batches 1 2 4] [--repeats 5] [--json]

The naive way (`benchmarks.rendering.naive`): fp32, one image at a time, every layer rendered alone, the SDF with gradients on the
whole grid, the same losses and optimizer. Sizes: `quick` for a CPU (the default), `full` for a GPU. The surface is that
of a warm-started MeshHead on synthetic heads made for the occasion. Compared calls are interleaved.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.rendering.naive import gaze_gaussian_terms, mesh_head_terms, whole_grid_mesh
from benchmarks.rendering.timing import interleaved, peak_gigabytes, show
from gazegaussian.config import GazeGaussianModel, GazeGaussianRun, MeshHeadRun, load_run, with_parameters
from gazegaussian.data import HeadDataset, SyntheticSettings, synthesize
from gazegaussian.dimensions import FEATURE_CHANNELS
from gazegaussian.errors import first_line
from gazegaussian.models.neural_renderers import build_renderer
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.step import autocast, optimisation_step
from gazegaussian.training.trainer import Trainer
from gazegaussian.types import Batch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EPOCH = 10  # all terms act
DIT_SIZES = [(patch, depth) for patch in (4, 8, 16) for depth in (4, 6, 12)]
Row = dict[str, Any]


def stages(sizes: str, device: str, folder: Path, **parameters: object) -> tuple[MeshHeadStage, GazeGaussianStage]:
    """Both stages at `quick` or `full` sizes, on synthetic heads written to `folder`."""
    common = {"device": device, "max_val_images": 2, "warm_start_steps": 100}
    mesh_run = with_parameters(load_run(CONFIGS / "runs" / "meshhead" / f"{sizes}.yaml"), {**common, **parameters})
    assert isinstance(mesh_run, MeshHeadRun)
    gaze_run = load_run(CONFIGS / "runs" / "gazegaussian" / f"{sizes}.yaml")
    gaze_run = with_parameters(gaze_run, {**common, "image_size": mesh_run.data.image_size, "eye_region_importance": 0})
    assert isinstance(gaze_run, GazeGaussianRun)
    size = mesh_run.data.image_size
    synthesize(folder, SyntheticSettings(people=2, size=size, frames=1, cameras=4), progress=False)
    train, validation = (HeadDataset(folder, split, size, cache=True) for split in ("train", "val"))
    torch.manual_seed(0)
    mesh = MeshHeadStage(mesh_run, train, validation)
    mesh.prepare()
    gaze = GazeGaussianStage(gaze_run, mesh.module, train, validation)
    mesh.to(torch.device(device))
    return mesh, gaze


def rows_of(stage: MeshHeadStage | GazeGaussianStage, count: int, device: str) -> Batch:
    """A batch of `count` training images on the device."""
    loaded = next(iter(stage.loader)).rows([0])
    batch = loaded.rows([0] * count)
    return replace(batch, index=torch.arange(count) % 4).to(device)


def step_calls(stage: MeshHeadStage | GazeGaussianStage, batch: Batch, folder: Path) -> dict[str, Callable[[], object]]:
    """One step ours (the precision of the device) and naively (fp32)."""
    trainer = Trainer(stage, stage.config.training, stage.config.optim, folder)
    naive: Callable[..., Any] = gaze_gaussian_terms if isinstance(stage, GazeGaussianStage) else mesh_head_terms

    def step(compute: Callable[[], Any]) -> None:
        optimisation_step(compute, trainer.parameters, trainer.optimizer, trainer.scaler, 1.0)

    def ours() -> Any:
        with autocast(trainer.device, trainer.dtype):
            return stage.losses(batch, EPOCH)

    return {"ours": lambda: step(ours), "naive": lambda: step(lambda: naive(stage, batch, EPOCH))}


def training_rows(stage: MeshHeadStage | GazeGaussianStage, batches: list[int], repeats: int, device: str) -> list[Row]:
    """Steps at several batch sizes; what does not fit into memory is a row without figures."""
    rows = []
    for count in batches:
        table = f"training step, {stage.name}, {stage.config.data.image_size} px"
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = _training_row(stage, count, repeats, device, Path(folder))
            except torch.OutOfMemoryError as error:
                row = {
                    "ms": None,
                    "naive ms": None,
                    "ratio": None,
                    "images/s": None,
                    "peak GB": None,
                    "note": first_line(error),
                }
        if device == "cuda":
            torch.cuda.empty_cache()
        rows.append({"table": table, "batch": count, **row})
    return rows


def _training_row(stage: MeshHeadStage | GazeGaussianStage, count: int, repeats: int, device: str, folder: Path) -> Row:
    calls = step_calls(stage, rows_of(stage, count, device), folder)
    ms = interleaved(calls, repeats, device)
    peak = peak_gigabytes(calls["ours"], device)
    row = {"ms": ms["ours"], "naive ms": ms["naive"], "ratio": ms["naive"] / ms["ours"]}
    return {**row, "images/s": 1e3 * count / ms["ours"], "peak GB": peak}


def sdf_rows(stage: MeshHeadStage, repeats: int, device: str) -> list[Row]:
    """Neutral mesh, forward + backward: gradients at the surface's grid points or at all of them."""
    model = stage.module

    def call(mesh: Callable[[], Any]) -> None:
        neutral = mesh()
        total = neutral.vertices.square().sum() + neutral.features.square().sum()
        torch.autograd.grad(total, list(model.geometry.parameters()))

    ms = interleaved(
        {"surface": lambda: call(model.neutral_mesh), "grid": lambda: call(lambda: whole_grid_mesh(model))},
        repeats,
        device,
    )
    cells = model.config.grid_resolution
    table = "neutral mesh, forward + backward"
    row = {"cells": f"{cells}^3", "surface ms": ms["surface"], "whole grid ms": ms["grid"]}
    return [{"table": table, **row, "ratio": ms["grid"] / ms["surface"]}]


def render_rows(stage: GazeGaussianStage, repeats: int, device: str) -> list[Row]:
    """Frames per second of redirected images, one at a time, without gradients."""
    batch = rows_of(stage, 1, device)
    dtype = Trainer(stage, stage.config.training, stage.config.optim, Path()).dtype

    def frame() -> None:
        with torch.no_grad(), autocast(torch.device(device), dtype):
            stage.model(batch.parameters, batch.cameras, layers=False)

    ms = interleaved({"frame": frame}, repeats, device)["frame"]
    gaussians = stage.model.face.means.shape[0] + stage.model.eyes.means.shape[0]
    size = stage.config.data.image_size
    return [{"table": "render of an image", "pixels": size, "Gaussians": gaussians, "ms": ms, "FPS": 1e3 / ms}]


def dit_rows(stage: GazeGaussianStage, repeats: int, device: str) -> list[Row]:
    """Neural renderer, forward + backward, over depth and patch size."""
    side = stage.config.data.image_size // stage.config.model.feature_downscale
    features = torch.rand(1, FEATURE_CHANNELS, side, side, device=device, requires_grad=True)
    parameters = rows_of(stage, 1, device).parameters
    rows = []
    for patch, depth in DIT_SIZES:
        sizes: dict[str, Any] = {"dit_depth": depth, "dit_patch_size": patch}
        config = GazeGaussianModel.model_validate({**stage.config.model.model_dump(), **sizes})
        renderer = build_renderer(config, side).to(device)

        def call(renderer: Any = renderer) -> None:
            torch.autograd.grad(renderer(features, parameters).sum(), [features, *renderer.path.parameters()])

        ms = interleaved({"renderer": call}, repeats, device)["renderer"]
        tokens = (side // patch) ** 2
        row = {"patch": patch, "depth": depth, "tokens": tokens, "ms": ms}
        rows.append({"table": "DiT renderer, forward + backward", **row})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", default="quick", choices=["quick", "full"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, help="instead of that of the sizes")
    parser.add_argument("--grid-resolution", type=int, help="instead of that of the sizes")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    given = {name: getattr(args, name) for name in ("image_size", "grid_resolution") if getattr(args, name)}
    with tempfile.TemporaryDirectory() as folder:
        mesh, gaze = stages(args.sizes, args.device, Path(folder), **given)
        rows = sdf_rows(mesh, args.repeats, args.device)
        for stage in (mesh, gaze):
            rows += training_rows(stage, args.batches, args.repeats, args.device)
        rows += render_rows(gaze, args.repeats, args.device) + dit_rows(gaze, args.repeats, args.device)
    show(rows, args.device, args.json)


if __name__ == "__main__":
    main()

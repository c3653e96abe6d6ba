"""What a training step or a frame asks of a GPU, without one: bytes moved, calls and peak memory per precision and batch.

    python -m benchmarks.rendering.device_cost [--sizes full] [--stages frame] [--precisions fp32 fp16] [--batches 1 4] [--top 0] [--json]

The step is the program's own losses and their gradients, clipped, and Adam; `--stages frame` is one of a sequence that `redirect`
renders, by what changes in it. Its tensors have shapes and no values (torch's fake
tensors), so the full sizes take seconds. Bytes are what every ATen call reads and writes, peak memory is what is alive at a
time: what an allocator without gaps would hold, without the CUDA context (0.5 GB), cuDNN's workspaces and Warp's own arrays.
Shares that values decide are given (`benchmarks.rendering.shapes_only`). Time does not follow from this table: a call takes 5
to 10 microseconds to launch, and a GPU moves 0.3 (T4) to 2 (A100) bytes per picosecond at best.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from benchmarks.rendering.meter import Meter
from benchmarks.rendering.shapes_only import ENTRIES, Sizes, batch_of, gaze_stage, mesh_stage, values_given
from benchmarks.rendering.timing import show
from gazegaussian import inference
from gazegaussian.config import GazeGaussianRun, MeshHeadRun, load_run
from gazegaussian.inference import FrameRenderer
from gazegaussian.rendering.binning import ListRoom
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.utils.constants import forget_constants
from helpers.utils.paths import ROOT, run_file

STAGES = ("meshhead", "gazegaussian", "frame")
EPOCH = 10  # all terms act
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    meter: Meter
    held: int  # bytes between two steps: weights, Adam's moments, the frozen network

    def row(self) -> dict[str, float]:
        """Columns of the table."""
        return {
            "GB moved": self.meter.bytes / 1e9,
            "calls": self.meter.calls,
            "peak GB": self.meter.peak / 1e9,
            "between steps GB": self.held / 1e9,
        }


@contextmanager
def _no_device() -> Iterator[None]:
    """Let fake tensors say `cuda` the way that torch has for machines without a GPU, on those with one, too.

    The stand-in's mode goes for so long: torch asks it before the fake tensors, and it would compute with values.
    """
    with (
        _disable_current_modes(),
        mock.patch.object(torch.cuda, "is_available", return_value=False),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*CUDA is not available")  # where autocast is switched off
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)


@contextmanager
def _autocast(dtype: torch.dtype) -> Iterator[None]:
    """What `torch.autocast("cuda", dtype)` does, which refuses to without a GPU."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.autocast_increment_nesting()
    torch.set_autocast_enabled("cuda", dtype != torch.float32)
    torch.set_autocast_dtype("cuda", dtype if dtype != torch.float32 else before[1])
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


@contextmanager
def _counted(sizes: Sizes) -> Iterator[Meter]:
    """Count what a device would do, with tensors that have shapes and no values."""
    forget_constants()
    try:
        with (
            _no_device(),
            FakeTensorMode(allow_non_fake_inputs=True),
            Meter("cuda") as meter,
            values_given(meter, sizes),
        ):
            yield meter
    finally:
        forget_constants()


def step_cost(
    stage: MeshHeadStage | GazeGaussianStage, sizes: Sizes, precision: str, count: int, traced: bool = False
) -> Cost:
    """Make two steps without values and count the second: the first one makes Adam's moments and what is kept per device.

    Args:
        stage: On the CPU; it is moved to the device and cannot be used again.
        sizes: What values decide.
        precision: fp32, fp16 or bf16.
        count: Images.
        traced: Tell the lines of gradients apart, too, for twice the time.
    """
    with (
        _counted(sizes) as meter,
        torch.autograd.set_detect_anomaly(traced, check_nan=False),  # keeps the line of every gradient
    ):
        stage.module.to("cuda")
        if isinstance(stage, GazeGaussianStage):
            stage.guide.to("cuda")
        parameters = list(stage.module.parameters())
        optimizer = torch.optim.Adam(stage.parameter_groups(stage.config.optim), fused=True)
        batch = batch_of(count, stage.config.data.image_size)
        for _ in range(2):
            held = meter.live
            meter.restart()
            with _autocast(PRECISIONS[precision]):
                terms = stage.losses(batch, EPOCH)
            torch.stack(list(terms.values())).sum().backward()
            del terms
            torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)  # as on CUDA, where it is the default
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Cost(meter, held)


# What changes from the frame before, and so of which parameters the head is known to be the same.
FRAMES: dict[str, list[tuple[str, ...]]] = {
    "gaze": [("shape_code",), ("shape_code", "pose", "scale")],
    "head pose": [("shape_code",)],
    "expression": [],
}


def frame_cost(stage: GazeGaussianStage, sizes: Sizes, precision: str, count: int, changes: str) -> Cost:
    """Render frames without values and count the third: the first makes what all share and finds the length of the tile lists.

    Args:
        stage: On the CPU; it is moved to the device and cannot be used again.
        sizes: What values decide.
        precision: fp32, fp16 or bf16.
        count: Images.
        changes: One of `FRAMES`.
    """
    dtype = PRECISIONS[precision]
    known: dict[str, Any] = {
        "_same": lambda one, other, names: names in FRAMES[changes],
        "_to_host": lambda image, needed: (image.cpu(), needed),
        "autocast": lambda device, dtype: _autocast(dtype),
    }
    with (
        _counted(sizes) as meter,
        mock.patch.multiple(inference, **known),
        mock.patch.object(ListRoom, "fits", return_value=True),
    ):
        frames = FrameRenderer(stage.model.to("cuda"), dtype)
        batch = batch_of(count, stage.config.data.image_size)
        for _ in range(3):
            held = meter.live
            meter.restart()
            frames.render(batch.parameters, batch.cameras)
            frames._room._entries = int(ListRoom.margin * ENTRIES * count * (sizes.face_points + sizes.eye_points))
        return Cost(meter, held)


def _most(meter: Meter, case: str, top: int) -> list[dict[str, Any]]:
    """Rows of what moves and of what launches most."""
    rows: list[dict[str, Any]] = []
    for kind, counter in (("line", meter.by_line), ("call", meter.by_call)):
        table = f"{case}: what moves most, by {kind}"
        rows += [{"table": table, "what": what, "GB": moved / 1e9} for what, moved in counter.most_common(top)]
    for kind, counter in (("file", meter.calls_by_file), ("line", meter.calls_by_line), ("call", meter.calls_by_call)):
        table = f"{case}: what launches most, by {kind}"
        rows += [{"table": table, "what": what, "calls": calls} for what, calls in counter.most_common(top)]
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="full", choices=["smoke", "quick", "demo", "full"])
    parser.add_argument("--stages", nargs="+", default=["meshhead", "gazegaussian"], choices=STAGES)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"], choices=sorted(PRECISIONS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--top", type=int, default=0, help="also the lines, files and calls that move and launch most")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(arguments)
    mesh_run = load_run(run_file("meshhead", args.sizes), "meshhead")
    gaze_run = load_run(run_file("gazegaussian", args.sizes), "gazegaussian")
    assert isinstance(mesh_run, MeshHeadRun)
    assert isinstance(gaze_run, GazeGaussianRun)
    sizes = Sizes.of(mesh_run, gaze_run)
    rows: list[dict[str, Any]] = []
    for name, precision, count in itertools.product(args.stages, args.precisions, args.batches):
        for changes in FRAMES if name == "frame" else [""]:
            if name == "meshhead":
                cost = step_cost(mesh_stage(mesh_run), sizes, precision, count, args.top > 0)
            elif name == "gazegaussian":
                cost = step_cost(gaze_stage(gaze_run, mesh_run, sizes), sizes, precision, count, args.top > 0)
            else:
                cost = frame_cost(gaze_stage(gaze_run, mesh_run, sizes), sizes, precision, count, changes)
            what = f"one frame at {args.sizes} sizes" if changes else f"one step at {args.sizes} sizes"
            case = {"changes": changes} if changes else {"stage": name}
            rows.append({"table": what, **case, "precision": precision, "batch": count, **cost.row()})
            rows += _most(cost.meter, f"{changes or name}, {precision}, batch {count}", args.top)
    show(rows, "cpu", args.json)


if __name__ == "__main__":
    if (
        not torch.cuda.is_available()
    ):  # a build without CUDA lacks what gradients ask of a device: the tests' stand-in has it
        sys.path.insert(0, str(ROOT / "tests" / "support"))
        from cuda_stand_in import stand_in_environment

        again = [sys.executable, "-m", "benchmarks.rendering.device_cost", *sys.argv[1:]]
        os.execve(sys.executable, again, stand_in_environment())
    main()

"""What one training step asks of a GPU, without one: bytes moved, calls and peak memory per stage, precision and batch.

    python -m benchmarks.rendering.device_cost [--sizes full] [--precisions fp32 fp16] [--batches 1 4] [--top 0] [--json]

The step is the program's own: losses, gradients, clipping and Adam. Its tensors have shapes and no values (torch's fake
tensors), so that the full sizes take seconds. Bytes are what every ATen call reads and writes, peak memory what is alive at a
time: both what a perfect allocator would see. What values decide is given: the shares of points that a branch acts on, the
size of the surface, and the tile entries of a splat, all of a warm-started MeshHead on synthetic heads. Warp's kernels count by
their inputs and outputs. Time does not follow from this table: a call takes 5 to 10 microseconds to launch, and a GPU moves
0.3 (T4) to 2 (A100) bytes per picosecond at best.
"""

from __future__ import annotations

import argparse
import os
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.rendering.timing import show
from gazegaussian.config import GazeGaussianRun, MeshHeadRun, load_run
from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.geometry.tetrahedra import TetrahedralGrid
from gazegaussian.models import branches
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.image_offsets import ImageOffsets
from gazegaussian.models.variants import build_mesh_head, gaze_gaussian_class
from gazegaussian.rendering import binning, splats
from gazegaussian.rendering.projection import ProjectedSplats
from gazegaussian.training import mesh_head_stage
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.step import autocast
from gazegaussian.types import Batch, Cameras, HeadParameters, MeshImage
from gazegaussian.utils.constants import forget_constants

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "runs"
EPOCH = 10  # all terms act
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NO_KERNEL = {"detach", "alias", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view"}
_NO_KERNEL |= {"new_empty_strided", "_reshape_alias", "set_", "resize_", "_to_dense"}


# Of a warm-started MeshHead on synthetic heads; a grid of n^3 cells has so many times n^2 vertices.
VERTICES = 5.4
ROWS = 0.53  # corners of crossed tetrahedra, over the vertices
NEAR = 2.4  # grid points within 3 steps of the surface, over the vertices
EYES = 0.0077  # share of the vertices near the eyes
REACHED = (0.91, 0.36)  # share of the face's points that expression and head pose act on
ENTRIES = 1.3  # tiles that a splat touches: most are smaller than a tile


@dataclass(frozen=True)
class Sizes:
    """What the values of a step decide."""

    vertices: int
    face_points: int
    eye_points: int

    @classmethod
    def of(cls, mesh: MeshHeadRun, gaze: GazeGaussianRun) -> Sizes:
        """Sizes that configurations lead to; every subdivision has four times the points."""
        vertices = int(VERTICES * mesh.model.grid_resolution**2)
        eyes = int(EYES * vertices * 4**gaze.model.eye_subdivisions)
        return cls(vertices, int((1 - EYES) * vertices * 4**gaze.model.face_subdivisions), eyes)

    @property
    def rows(self) -> int:
        """Corners of crossed tetrahedra."""
        return int(ROWS * self.vertices)


class Meter(TorchDispatchMode):
    """Counts calls and bytes, and the bytes that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.bytes = 0
        self.live = 0
        self.peak = 0
        self.by_call: Counter[str] = Counter()
        self.by_line: Counter[str] = Counter()
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [t for t in tree_flatten((args, kwargs, out))[0] if isinstance(t, Tensor)]
        for tensor in tensors:
            self.hold(tensor)
        if not func.is_view and name not in _NO_KERNEL:
            self.add(name, sum(map(_bytes, tensors)))
        return out

    def add(self, name: str, moved: int, calls: int = 1) -> None:
        """Count a call, or a kernel that torch does not see."""
        self.calls += calls
        self.bytes += moved
        self.by_call[name] += moved
        self.by_line[_line()] += moved

    def hold(self, tensor: Tensor) -> None:
        """Count a storage on the device until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if tensor.device.type != "cuda" or key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)


def _bytes(tensor: Tensor) -> int:
    """What a kernel reads or writes of a tensor: a broadcast one is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _line() -> str:
    """Innermost line of the package, or what torch does for its gradients."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if f"{ROOT}/gazegaussian/" in name:
            return f"{name.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
        frame = frame.f_back
    return "gradients and optimizer"


class _Splat(torch.autograd.Function):
    """The Warp kernels by their inputs and outputs; the lists of the tiles as they are made."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, cameras: Cameras, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        means, _, _, _, features, _ = tensors
        count = len(means)
        batch = cameras.rotation.shape[0]
        flat = [means.new_empty(count, columns) for columns in (2, 3, 2)]
        projected = ProjectedSplats(flat[0], flat[1], means.new_empty(count), flat[2])
        meter.add("projection", sum(map(_bytes, (*tensors[:4], *flat))))
        total = int(ENTRIES * count)
        with mock.patch.object(binning, "expand_counts", lambda counts: _expanded(counts, total)):
            binning.bin_tiles(projected, batch, cameras.width, cameras.height, 16)
        pixels = batch * cameras.height * cameras.width
        image = features.new_empty(pixels, features.shape[1])
        alpha = features.new_empty(pixels)
        meter.add("compositing", total * 4 * (features.shape[1] + 7) + _bytes(image) + _bytes(alpha))
        ctx.save_for_backward(*tensors, image, alpha, *flat)
        ctx.meter = meter
        ctx.total = total
        return image, alpha

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        tensors = ctx.saved_tensors[:6]
        features = tensors[4]
        ctx.meter.add("compositing, gradients", ctx.total * 4 * 3 * (features.shape[1] + 7) + sum(map(_bytes, grads)))
        ctx.meter.add("projection, gradients", 2 * sum(map(_bytes, tensors[:4])))
        return None, None, *(torch.empty_like(t) for t in tensors)


def _expanded(counts: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """`expand_counts` where the total is known."""
    ends = torch.cumsum(counts, 0)
    owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts, output_size=total)
    return owners, torch.arange(total, device=counts.device) - (ends - counts)[owners]


class _Mesh(torch.autograd.Function):
    """The mesh renderer by its inputs and outputs."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, size: tuple[int, int], vertices: Tensor, colors: Tensor) -> Any:
        shape = (vertices.shape[0], colors.shape[-1], *size)
        outs = (
            vertices.new_empty(shape),
            vertices.new_empty(shape[0], 1, *size),
            vertices.new_empty(shape[0], 1, *size),
        )
        meter.add("mesh renderer", sum(map(_bytes, (vertices, colors, *outs))))
        ctx.save_for_backward(vertices, colors)
        ctx.mark_non_differentiable(outs[1])
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, *(torch.empty_like(t) for t in ctx.saved_tensors)


@contextmanager
def _values_given(meter: Meter, sizes: Sizes) -> Iterator[None]:
    """Replace what needs values: Warp's kernels and whatever has as many rows as values say."""

    def splat(gaussians: Any, cameras: Cameras, background: Tensor, max_alpha: float, compositor: Any) -> Any:
        batch, _, channels = gaussians.features.shape
        fields = (
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities[..., None],
            gaussians.features,
        )
        flat = [t.reshape(-1, t.shape[-1]).contiguous() for t in fields]
        image, alpha = _Splat.apply(meter, cameras, *flat, background)
        shape = (batch, cameras.height, cameras.width)
        return image.view(*shape, channels), alpha.view(shape)

    def mesh(vertices: Tensor, faces: Tensor, colors: Tensor, cameras: Cameras, *rest: Any, **named: Any) -> MeshImage:
        return MeshImage(*_Mesh.apply(meter, (cameras.height, cameras.width), vertices, colors))

    def topology(grid: TetrahedralGrid, sdf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shapes = ((sizes.rows,), (sizes.vertices, 2), (2 * sizes.vertices, 3))
        rows, edges, faces = (torch.zeros(shape, dtype=torch.long, device=sdf.device) for shape in shapes)
        grid.near = torch.zeros(int(NEAR * sizes.vertices), dtype=torch.long, device=sdf.device) if grid.reach else None
        return rows, edges, faces

    def counts(kept: Sequence[Tensor]) -> list[int]:
        return [int(share * len(mask)) for share, mask in zip(REACHED, kept, strict=True)]

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(splats, "_splat_warp", splat))
        stack.enter_context(mock.patch.object(mesh_head_stage, "render_mesh", mesh))
        stack.enter_context(mock.patch.object(TetrahedralGrid, "topology", topology))
        stack.enter_context(mock.patch.object(branches, "_counts", counts))
        yield


def _batch(count: int, size: int, landmarks: int) -> Batch:
    """A batch on the device."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(count, *shape, device="cuda")

    parameters = HeadParameters(zeros(SHAPE_CODE_DIM), zeros(6), zeros(1), zeros(2))
    cameras = Cameras(zeros(3, 3), zeros(3), zeros(3, 3), size, size)
    return Batch(
        image=zeros(3, size, size),
        head_mask=zeros(1, size, size),
        left_eye_mask=zeros(1, size, size),
        right_eye_mask=zeros(1, size, size),
        landmarks_2d=zeros(68, 2),
        landmarks_3d=zeros(landmarks, 3),
        parameters=parameters,
        cameras=cameras,
        index=torch.zeros(count, dtype=torch.long, device="cuda"),
    )


def _mesh_stage(run: MeshHeadRun) -> MeshHeadStage:
    stage = MeshHeadStage.__new__(MeshHeadStage)
    stage.config = run
    stage.variant = run.model.variant
    stage.module = build_mesh_head(run.model)
    return stage


def _gaze_stage(run: GazeGaussianRun, mesh: MeshHeadRun, sizes: Sizes) -> GazeGaussianStage:
    stage = GazeGaussianStage.__new__(GazeGaussianStage)
    stage.config = run
    stage.variant = run.model.variant
    points = (sizes.face_points, sizes.eye_points)
    stage.model = gaze_gaussian_class(run.model)(run.model, mesh.model, run.data.image_size, *points)
    stage.offsets = ImageOffsets(1000)
    stage.module = torch.nn.ModuleDict({"model": stage.model, "offsets": stage.offsets})
    stage.guide = load_frozen("guide")
    return stage


def step_cost(
    stage: MeshHeadStage | GazeGaussianStage, sizes: Sizes, precision: str, count: int
) -> tuple[Meter, float]:
    """Make one step without values.

    Args:
        stage: On the CPU, with real weights that nobody looks at; it is moved to the device and cannot be used again.
        sizes: What values decide.
        precision: fp32, fp16 or bf16.
        count: Images.

    Returns:
        What the step asked for, and the gigabytes that were there before it: weights and Adam's moments.
    """
    forget_constants()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), Meter() as meter, _values_given(meter, sizes):
            stage.module.to("cuda")
            if isinstance(stage, GazeGaussianStage):
                stage.guide.to("cuda")
            parameters = list(stage.module.parameters())
            optimizer = torch.optim.Adam(stage.parameter_groups(stage.config.optim), fused=True)
            batch = _batch(count, stage.config.data.image_size, 103)
            for number in range(2):  # the first one makes Adam's moments and what is kept per device
                if number:
                    meter.calls = meter.bytes = 0
                    meter.by_call.clear()
                    meter.by_line.clear()
                    held = meter.live
                    meter.peak = meter.live
                with autocast(torch.device("cuda"), PRECISIONS[precision]):
                    terms = stage.losses(batch, EPOCH)
                torch.stack(list(terms.values())).sum().backward()
                del terms
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            return meter, held / 1e9
    finally:
        forget_constants()


def main(arguments: list[str] | None = None) -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="full", choices=["quick", "demo", "full"])
    parser.add_argument("--stages", nargs="+", default=["meshhead", "gazegaussian"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"], choices=sorted(PRECISIONS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--top", type=int, default=0, help="also the lines that move most")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(arguments)
    mesh_run = load_run(CONFIGS / "meshhead" / f"{args.sizes}.yaml", "meshhead")
    gaze_run = load_run(CONFIGS / "gazegaussian" / f"{args.sizes}.yaml", "gazegaussian")
    assert isinstance(mesh_run, MeshHeadRun)
    assert isinstance(gaze_run, GazeGaussianRun)
    sizes = Sizes.of(mesh_run, gaze_run)
    rows: list[dict[str, Any]] = []
    for name in args.stages:
        for precision in args.precisions:
            for count in args.batches:
                stage = _mesh_stage(mesh_run) if name == "meshhead" else _gaze_stage(gaze_run, mesh_run, sizes)
                meter, held = step_cost(stage, sizes, precision, count)
                row = {
                    "table": f"one step at {args.sizes} sizes, no GPU",
                    "stage": name,
                    "precision": precision,
                    "batch": count,
                }
                costs = {
                    "GB moved": meter.bytes / 1e9,
                    "calls": meter.calls,
                    "peak GB": meter.peak / 1e9,
                    "weights GB": held,
                }
                rows.append({**row, **costs})
                for what, moved in (*meter.by_line.most_common(args.top), *meter.by_call.most_common(args.top)):
                    rows.append(
                        {"table": f"{name}, {precision}, batch {count}: where", "what": what, "GB": moved / 1e9}
                    )
    show(rows, "cpu", args.json)


if __name__ == "__main__":
    if not torch.cuda.is_available():  # torch must believe in a device: the one of the tests
        sys.path.insert(0, str(ROOT / "tests" / "support"))
        from cuda_stand_in import stand_in_environment

        again = [sys.executable, "-m", "benchmarks.rendering.device_cost", *sys.argv[1:]]
        os.execve(sys.executable, again, stand_in_environment())
    main()

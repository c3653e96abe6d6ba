"""Training steps of tensors that have shapes and no values: what values decide is given, and Warp's kernels count by their tensors.

The given shares are those of a warm-started MeshHead on synthetic heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.rendering.meter import Meter, traffic
from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.geometry.tetrahedra import TetrahedralGrid
from gazegaussian.models import branches
from gazegaussian.models.frozen import load_frozen
from gazegaussian.models.image_offsets import ImageOffsets
from gazegaussian.models.variants import build_mesh_head, gaze_gaussian_class
from gazegaussian.rendering import binning, splats
from gazegaussian.rendering._composites import Compositor
from gazegaussian.rendering.binning import ListRoom
from gazegaussian.rendering.projection import ProjectedSplats
from gazegaussian.training import mesh_head_stage
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.types import Batch, Cameras, Gaussians, HeadParameters, MeshImage

LANDMARKS = 103
IMAGES = 1000  # of the training set: rows of the offsets
TILE = 16  # px
VERTICES = 5.4  # over the squared number of the grid's cells along an axis
ROWS = 0.53  # corners of crossed tetrahedra, over the vertices
NEAR = 2.4  # grid points within reach of the surface, over the vertices
EYES = 0.0077  # share of the vertices near the eyes
REACHED = (0.91, 0.36, 0.27)  # share of the face's points that expression, head pose and both act on
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


class _Splats(torch.autograd.Function):
    """Warp's splat kernels by their tensors; the tiles' lists are made as on CUDA."""

    @staticmethod
    def forward(
        ctx: Any, meter: Meter, cameras: Cameras, room: ListRoom | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means, quaternions, scales, opacities, features [M, ...], background -> features [P, C], alpha [P]."""
        means, _, _, _, features, _ = tensors
        count = len(means)
        batch = cameras.rotation.shape[0]
        flat = [means.new_empty(count, columns) for columns in (2, 3, 2)]
        projected = ProjectedSplats(flat[0], flat[1], means.new_empty(count), flat[2])
        meter.add("projection", sum(map(traffic, (*tensors[:4], *flat))))
        total = int(ENTRIES * count)
        with mock.patch.object(binning, "expand_counts", lambda counts: _expanded(counts, total)):
            binning.bin_tiles(projected, batch, cameras.width, cameras.height, TILE, room)
        pixels = batch * cameras.height * cameras.width
        image = features.new_empty(pixels, features.shape[1])
        alpha = features.new_empty(pixels)
        meter.add("compositing", total * 4 * (features.shape[1] + 7) + traffic(image) + traffic(alpha))
        ctx.save_for_backward(*tensors, image, alpha, *flat)
        ctx.meter = meter
        ctx.total = total
        return image, alpha

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients of all tensors."""
        tensors = ctx.saved_tensors[:6]
        features = tensors[4]
        ctx.meter.add("compositing, gradients", ctx.total * 4 * 3 * (features.shape[1] + 7) + sum(map(traffic, grads)))
        ctx.meter.add("projection, gradients", 2 * sum(map(traffic, tensors[:4])))
        return None, None, None, *(torch.empty_like(t) for t in tensors)


def _expanded(counts: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """`expand_counts` where the total is known."""
    ends = torch.cumsum(counts, 0)
    owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts, output_size=total)
    return owners, torch.arange(total, device=counts.device) - (ends - counts)[owners]


class _Mesh(torch.autograd.Function):
    """The mesh renderer by its tensors."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, size: tuple[int, int], vertices: Tensor, colors: Tensor) -> Any:
        """[B, V, 3], [B, V, C] -> attributes [B, C, H, W], mask and silhouette [B, 1, H, W]."""
        batch = vertices.shape[0]
        outs = tuple(vertices.new_empty(batch, channels, *size) for channels in (colors.shape[-1], 1, 1))
        meter.add("mesh renderer", sum(map(traffic, (vertices, colors, *outs))))
        ctx.save_for_backward(vertices, colors)
        ctx.mark_non_differentiable(outs[1])
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients of vertices and attributes."""
        return None, None, *(torch.empty_like(t) for t in ctx.saved_tensors)


@contextmanager
def values_given(meter: Meter, sizes: Sizes) -> Iterator[None]:
    """Replace Warp's kernels, and whatever has as many rows as values say."""

    def splat(
        gaussians: Gaussians, cameras: Cameras, background: Tensor, max_alpha: float, compositor: Compositor
    ) -> tuple[Tensor, Tensor]:
        batch, _count, channels = gaussians.features.shape
        opacities = gaussians.opacities[..., None]
        fields = (gaussians.means, gaussians.quats, gaussians.scales, opacities, gaussians.features)
        flat = [t.reshape(-1, t.shape[-1]).contiguous() for t in fields]
        room = getattr(compositor.forward, "keywords", {}).get("room")
        image, alpha = _Splats.apply(meter, cameras, room, *flat, background)
        shape = (batch, cameras.height, cameras.width)
        return image.view(*shape, channels), alpha.view(shape)

    def mesh(vertices: Tensor, faces: Tensor, colors: Tensor, cameras: Cameras, *_: Any, **__: Any) -> MeshImage:
        return MeshImage(*_Mesh.apply(meter, (cameras.height, cameras.width), vertices, colors))

    def topology(grid: TetrahedralGrid, sdf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, edges, faces, near = (
            torch.zeros(shape, dtype=torch.long, device=sdf.device)
            for shape in (
                (int(ROWS * sizes.vertices),),
                (sizes.vertices, 2),
                (2 * sizes.vertices, 3),
                (int(NEAR * sizes.vertices),),
            )
        )
        grid.near = near if grid.reach else None
        return rows, edges, faces

    def counts(kept: Sequence[Tensor]) -> list[int]:
        return [int(share * len(mask)) for share, mask in zip(REACHED, kept, strict=True)]

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[0]
        return attended  # one kernel, as on a GPU; builds without CUDA write it out

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention))
        stack.enter_context(mock.patch.object(splats, "_splat_warp", splat))
        stack.enter_context(mock.patch.object(mesh_head_stage, "render_mesh", mesh))
        stack.enter_context(mock.patch.object(TetrahedralGrid, "topology", topology))
        stack.enter_context(mock.patch.object(branches, "_counts", counts))
        yield


def batch_of(count: int, size: int) -> Batch:
    """Images of so many pixels on the CUDA device. Shapes only."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(count, *shape, device="cuda")

    return Batch(
        image=zeros(3, size, size),
        head_mask=zeros(1, size, size),
        left_eye_mask=zeros(1, size, size),
        right_eye_mask=zeros(1, size, size),
        landmarks_2d=zeros(68, 2),
        landmarks_3d=zeros(LANDMARKS, 3),
        parameters=HeadParameters(zeros(SHAPE_CODE_DIM), zeros(6), zeros(1), zeros(2)),
        cameras=Cameras(zeros(3, 3), zeros(3), zeros(3, 3), size, size),
        index=torch.zeros(count, dtype=torch.long, device="cuda"),
    )


def mesh_stage(run: MeshHeadRun) -> MeshHeadStage:
    """Stage one without data."""
    stage = MeshHeadStage.__new__(MeshHeadStage)
    stage.config = run
    stage.variant = run.model.variant
    stage.module = build_mesh_head(run.model.model_copy(update={"landmarks": LANDMARKS}))
    return stage


def gaze_stage(run: GazeGaussianRun, mesh: MeshHeadRun, sizes: Sizes) -> GazeGaussianStage:
    """Stage two without data, from a MeshHead of another configuration."""
    stage = GazeGaussianStage.__new__(GazeGaussianStage)
    stage.config = run
    stage.variant = run.model.variant
    model = mesh.model.model_copy(update={"landmarks": LANDMARKS})
    points = (sizes.face_points, sizes.eye_points)
    stage.model = gaze_gaussian_class(run.model)(run.model, model, run.data.image_size, *points)
    stage.offsets = ImageOffsets(IMAGES)
    stage.module = torch.nn.ModuleDict({"model": stage.model, "offsets": stage.offsets})
    stage.guide = load_frozen("guide")
    return stage

"""The Warp kernels as functions: tensors in, tensors out, no autograd. Row bands for the CPU, tiles for CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gazegaussian.rendering._warp import as_array, cpu_blocks, launch, launch_split, launch_strided, wp
from gazegaussian.rendering.binning import ListRoom, bin_bands, bin_tiles
from gazegaussian.rendering.projection import FlatScene, ProjectedSplats
from gazegaussian.rendering.splat_kernels import SIX, band_kernels
from gazegaussian.rendering.splat_kernels_tiled import BLOCK, tile_kernels


@dataclass(frozen=True)
class Composited:
    """A composited batch, and what its backward needs."""

    image: Tensor  # [B * H * W, C] over the background
    transmittance: Tensor  # [B * H * W]
    saved: Any


@dataclass(frozen=True)
class SplatGrads:
    """Gradients to the compositing inputs."""

    means: Tensor  # [M, 2]
    conics: Tensor  # [M, 3]
    opacities: Tensor  # [M]
    features: Tensor  # [M, C]


class Compositor(NamedTuple):
    """A forward and its backward: (scene, output, gradients to `image` and to the accumulated opacity)."""

    forward: Callable[[FlatScene], Composited]
    backward: Callable[[FlatScene, Composited, Tensor, Tensor], SplatGrads]


def _scene_arrays(scene: FlatScene, vector: Any) -> list[Any]:
    return _splat_arrays(scene.splats, scene.opacities, scene.features, vector)


def _splat_arrays(splats: ProjectedSplats, opacities: Tensor, features: Tensor, vector: Any) -> list[Any]:
    shape = [as_array(splats.means, wp.vec2), as_array(splats.conics, wp.vec3)]
    return [*shape, as_array(opacities), as_array(features, vector)]


def band_rows(batch: int, height: int) -> int:
    """Rows of a band: short bands balance the threads, tall ones repeat fewer splats.

    Not a function of the thread count, so that the result is not one either.
    """
    return max(8, batch * height // 32)


def composite_bands(scene: FlatScene) -> Composited:
    """Composite row bands on CPU threads."""
    batch, width, height = scene.size
    kernels = band_kernels(scene.features.shape[1])
    bands = bin_bands(scene.splats, batch, width, height, band_rows(batch, height))
    image = scene.features.new_empty(batch * height * width, scene.features.shape[1])
    transmittance = scene.features.new_empty(batch * height * width)
    inputs = [*_scene_arrays(scene, kernels.vector), as_array(scene.background, kernels.vector)]
    lists = [as_array(bands.boxes, wp.vec4i), as_array(bands.splats), as_array(bands.offsets)]
    shape = [width, height, bands.rows, bands.per_image, scene.max_alpha]
    outputs = [as_array(image, kernels.vector), as_array(transmittance)]
    launch_strided(kernels.forward, batch * bands.per_image, [*inputs, *lists, *shape, *outputs])
    return Composited(image, transmittance, bands)


def composite_bands_backward(scene: FlatScene, out: Composited, grad_image: Tensor, grad_alpha: Tensor) -> SplatGrads:
    """Gradients of `composite_bands`."""
    batch, width, height = scene.size
    bands = out.saved
    kernels = band_kernels(scene.features.shape[1])
    vector = kernels.vector
    entry_features = scene.features.new_empty(bands.splats.shape[0], scene.features.shape[1])
    entry_shape = scene.features.new_empty(bands.splats.shape[0], 6)
    buffers = [as_array(entry_features, vector), as_array(entry_shape, SIX)]
    lists = [as_array(bands.boxes, wp.vec4i), *(as_array(t) for t in (bands.splats, bands.offsets, bands.slots))]
    shape = [width, height, bands.rows, bands.per_image, scene.max_alpha]
    images = [as_array(out.image, vector), as_array(out.transmittance)]
    images += [as_array(grad_image, vector), as_array(grad_alpha)]
    before = torch.empty_like(out.transmittance)
    behind = torch.empty_like(out.transmittance)
    inputs = [*_scene_arrays(scene, vector), *lists, *shape, *images]
    work = [*inputs, as_array(before), as_array(behind), *buffers]
    launch_strided(kernels.backward, batch * bands.per_image, work)

    means = torch.empty_like(scene.splats.means)
    conics = torch.empty_like(scene.splats.conics)
    grads = SplatGrads(means, conics, torch.empty_like(scene.opacities), torch.empty_like(scene.features))
    totals = _splat_arrays(ProjectedSplats(means, conics, means, means), grads.opacities, grads.features, vector)
    work = [as_array(bands.slots), *buffers, *totals]
    launch_split(kernels.reduce, scene.features.shape[0], work, scene.features.device)
    return grads


def composite_tiles(scene: FlatScene, room: ListRoom | None = None) -> Composited:
    """Composite square tiles, a thread per pixel: CUDA, or the same kernels on the CPU for tests."""
    batch, width, height = scene.size
    kernels = tile_kernels(scene.features.shape[1])
    # Small maps need small tiles, or most of the GPU has nothing to do.
    tiles = bin_tiles(scene.splats, batch, width, height, 8 if max(width, height) <= 64 else 16, room)
    pixels = batch * height * width
    image = scene.features.new_empty(pixels, scene.features.shape[1])
    transmittance = scene.features.new_empty(pixels)
    last = torch.empty(pixels, dtype=torch.int32, device=scene.features.device)
    inputs = [*_scene_arrays(scene, kernels.vector), as_array(scene.background, kernels.vector)]
    lists = [as_array(tiles.splats), as_array(tiles.offsets)]
    shape = [width, height, tiles.side, tiles.across, tiles.down, scene.max_alpha]
    outputs = [as_array(image, kernels.vector), as_array(transmittance), as_array(last)]
    threads = batch * tiles.across * tiles.down * tiles.side**2
    launch(kernels.forward, threads, [*inputs, *lists, *shape, *outputs], scene.features.device)
    return Composited(image, transmittance, (tiles, last))


def composite_tiles_backward(scene: FlatScene, out: Composited, grad_image: Tensor, grad_alpha: Tensor) -> SplatGrads:
    """Gradients of `composite_tiles`."""
    batch, width, height = scene.size
    (tiles, last) = out.saved
    kernels = tile_kernels(scene.features.shape[1])
    grad_features = torch.zeros_like(scene.features)
    grad_shape = scene.features.new_zeros(scene.features.shape[0], 6)
    vector = kernels.vector
    inputs = [*_scene_arrays(scene, vector), as_array(scene.background, vector)]
    lists = [as_array(tiles.splats), as_array(tiles.offsets)]
    shape = [width, height, tiles.side, tiles.across, tiles.down, scene.max_alpha]
    images = [as_array(out.transmittance), as_array(last), as_array(grad_image, vector), as_array(grad_alpha)]
    outputs = [as_array(grad_features, vector), as_array(grad_shape, SIX)]
    threads = batch * tiles.across * tiles.down * tiles.side**2
    with cpu_blocks():
        work = [*inputs, *lists, *shape, *images, *outputs]
        launch(kernels.backward, threads, work, scene.features.device, block_dim=BLOCK)
    means = grad_shape[:, :2].contiguous()
    conics = grad_shape[:, 2:5].contiguous()
    return SplatGrads(means, conics, grad_shape[:, 5].contiguous(), grad_features)


BANDS = Compositor(composite_bands, composite_bands_backward)
TILES = Compositor(composite_tiles, composite_tiles_backward)


def tiles_with(room: ListRoom | None) -> Compositor:
    """Tiles whose lists have room already: for frames."""
    return TILES if room is None else TILES._replace(forward=partial(composite_tiles, room=room))

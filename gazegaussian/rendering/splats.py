"""Splatting: Gaussians and cameras in, feature maps out, with gradients.

Front to back, alpha clamped at `max_alpha`, cut off below 1/255, stopped at a transmittance of 1e-4, composited over a
background vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gazegaussian.errors import UserError
from gazegaussian.rendering._warp import as_array, launch_strided, wp
from gazegaussian.rendering.binning import bin_bands
from gazegaussian.rendering.projection import ProjectedSplats, project
from gazegaussian.rendering.reference import composite_brute_force, composite_torch
from gazegaussian.rendering.splat_kernels import SIX, band_kernels
from gazegaussian.types import Cameras, Gaussians, SplatImage

BACKENDS = ("auto", "warp", "torch", "gsplat")
_MAX_VECTOR = 64  # channels in one kernel; more are composited in parts
Size = tuple[int, int, int]  # images, width, height


def _band_rows(height: int) -> int:
    """Rows of a band: short bands balance the threads, tall ones repeat fewer splats."""
    return max(4, height // 16)


class _BandComposite(torch.autograd.Function):
    """The CPU kernels as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        conics: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor,
        splats: ProjectedSplats,
        size: Size,
        max_alpha: float,
    ) -> tuple[Tensor, Tensor]:
        """Composite M splats [M, ...] into features [B * H * W, C] and transmittance [B * H * W]."""
        batch, width, height = size
        kernels = band_kernels(features.shape[1])
        inputs = [t.detach().contiguous() for t in (means, conics, opacities, features, background[None])]
        bands = bin_bands(splats, batch, width, height, _band_rows(height))
        image = means.new_empty(batch * height * width, features.shape[1])
        transmittance = means.new_empty(batch * height * width)
        dtypes = (wp.vec2, wp.vec3, None, kernels.vector, kernels.vector)
        arrays = [as_array(t, dtype) for t, dtype in zip(inputs, dtypes, strict=True)]
        lists = [as_array(bands.boxes, wp.vec4i), as_array(bands.splats), as_array(bands.offsets)]
        shape = [width, height, bands.rows, bands.per_image, max_alpha]
        outputs = [as_array(image, kernels.vector), as_array(transmittance)]
        launch_strided(kernels.forward, batch * bands.per_image, [*arrays, *lists, *shape, *outputs])
        ctx.save_for_backward(*inputs[:4], image, transmittance)
        ctx.bands, ctx.shape, ctx.batch = bands, shape, batch
        return image, transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to means, conics, opacities, features and background."""
        *inputs, image, transmittance = ctx.saved_tensors
        bands, features = ctx.bands, inputs[3]
        kernels = band_kernels(features.shape[1])
        grad_image, grad_transmittance = (g.contiguous().float() for g in grads)
        entries = bands.splats.shape[0]
        entry_features, entry_shape = features.new_empty(entries, features.shape[1]), features.new_empty(entries, 6)
        grad_features, grad_shape = torch.empty_like(features), features.new_empty(features.shape[0], 6)
        scratch = [torch.empty_like(transmittance), torch.empty_like(transmittance)]
        dtypes = (wp.vec2, wp.vec3, None, kernels.vector)
        arrays = [as_array(t, dtype) for t, dtype in zip(inputs, dtypes, strict=True)]
        lists = [as_array(bands.boxes, wp.vec4i), *(as_array(t) for t in (bands.splats, bands.offsets, bands.slots))]
        images = [as_array(image, kernels.vector), as_array(transmittance)]
        images += [as_array(grad_image, kernels.vector), as_array(grad_transmittance.neg())]
        buffers = [as_array(entry_features, kernels.vector), as_array(entry_shape, SIX)]
        work = [*arrays, *lists, *ctx.shape, *images, *(as_array(t) for t in scratch), *buffers]
        launch_strided(kernels.backward, ctx.batch * bands.per_image, work)
        totals = [as_array(grad_features, kernels.vector), as_array(grad_shape, SIX)]
        launch_strided(kernels.reduce, features.shape[0], [as_array(bands.slots), *buffers, *totals])
        grad_background = (transmittance[:, None] * grad_image).sum(0)
        shape = (grad_shape[:, :2], grad_shape[:, 2:5], grad_shape[:, 5])
        return *shape, grad_features, grad_background, None, None, None


def _composite_bands(
    splats: ProjectedSplats, opacities: Tensor, features: Tensor, background: Tensor, size: Size, max_alpha: float
) -> tuple[Tensor, Tensor]:
    """Composite with the CPU kernels. Arguments and returns as in `reference.composite_torch`."""
    batch, width, height = size
    args = (splats.means, splats.conics, opacities, features, background, splats, size, max_alpha)
    image, transmittance = _BandComposite.apply(*args)
    return image.view(batch, height, width, -1), (1 - transmittance).view(batch, height, width)


_Composite = Callable[[ProjectedSplats, Tensor, Tensor, Tensor, Size, float], tuple[Tensor, Tensor]]
_COMPOSITES: dict[str, _Composite] = {
    "warp": _composite_bands,
    "torch": composite_torch,
    "brute-force": composite_brute_force,
}


def _in_parts(composite: _Composite, features: Tensor, background: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """Composite more channels than fit one kernel."""
    splats, opacities, size, max_alpha = rest
    parts = zip(features.split(_MAX_VECTOR, 1), background.split(_MAX_VECTOR), strict=True)
    images, alphas = zip(*(composite(splats, opacities, f, b, size, max_alpha) for f, b in parts), strict=True)
    return torch.cat(images, -1), alphas[0]


def render_splats(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Tensor,
    backend: str = "auto",
    max_alpha: float = 0.99,
) -> SplatImage:
    """Splat each batch row into its own camera.

    Half-precision inputs are computed and returned in float32, also under autocast. Splats that are not finite, behind
    the near plane (0.2), outside the image or below 1/255 in opacity are skipped and get zero gradients.

    Args:
        gaussians: Splats, world frame, C features each. [B, N, ...]
        cameras: One per batch row. [B, ...]
        background: Feature vector behind everything. [C]
        backend: "auto" and "warp" use the Warp kernels of the device ("auto" turns to torch for float64), "torch" is
            the vectorised reference, "gsplat" the optional CUDA library.
        max_alpha: Largest alpha of one splat (0.99 as published).

    Returns:
        Features over the background [B, C, H, W] and alpha [B, 1, H, W], differentiable in every field of `gaussians`
        and in `background`.

    Raises:
        UserError: The backend is unknown or not installed.
    """
    with torch.autocast(device_type=gaussians.means.device.type, enabled=False):
        dtype = torch.promote_types(gaussians.means.dtype, torch.float32)
        means, quats, scales, opacities, features = (
            t.to(dtype)
            for t in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.features)
        )
        gaussians = Gaussians(means, quats, scales, opacities, features)
        background = background.to(features)
        batch, channels = features.shape[0], features.shape[-1]
        if backend == "auto":
            backend = "torch" if dtype == torch.float64 else "warp"
        composite = _COMPOSITES.get(backend)
        if composite is None:
            raise UserError(f"Expected a splat backend in {', '.join(BACKENDS)}; got {backend!r}.")
        size = (batch, cameras.width, cameras.height)
        splats = project(gaussians, cameras)
        flat = features.reshape(-1, channels)
        image, alpha = _in_parts(composite, flat, background, splats, opacities.reshape(-1), size, max_alpha)
        return SplatImage(image.permute(0, 3, 1, 2), alpha[:, None])

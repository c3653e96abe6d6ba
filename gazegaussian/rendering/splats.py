"""Splatting: Gaussians and cameras in, feature maps out, with gradients.

Front to back, alpha clamped at `max_alpha`, cut off below 1/255, stopped at a transmittance of 1e-4, composited over a
background vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gazegaussian.errors import UserError
from gazegaussian.rendering._composites import BANDS, Composited, Compositor, tiles_with
from gazegaussian.rendering.binning import ListRoom
from gazegaussian.rendering.gsplat import render_gsplat
from gazegaussian.rendering.projection import FlatScene, project
from gazegaussian.rendering.projection_kernels import project_flat, project_flat_backward
from gazegaussian.rendering.reference import composite_brute_force, composite_torch
from gazegaussian.types import Cameras, Gaussians, SplatImage

BACKENDS = ("auto", "warp", "torch", "gsplat")
_MAX_VECTOR = 64  # channels in one kernel; more are composited in parts
_References = dict[str, Callable[[FlatScene], tuple[Tensor, Tensor]]]
_REFERENCES: _References = {"torch": composite_torch, "brute-force": composite_brute_force}


class _WarpSplats(torch.autograd.Function):
    """Projection, binning and compositing in Warp as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor,
        cameras: Cameras,
        max_alpha: float,
        compositor: Compositor,
    ) -> tuple[Tensor, Tensor]:
        """Splat M = B * N Gaussians [M, ...] into features [B * H * W, C] and alpha [B * H * W]."""
        splats = project_flat((means, quats, scales), opacities, cameras)
        size = (cameras.rotation.shape[0], cameras.width, cameras.height)
        out = compositor.forward(FlatScene(splats, opacities, features, background, size, max_alpha))
        ctx.save_for_backward(means, quats, scales, opacities, features, background, out.image, out.transmittance)
        ctx.splats = splats
        ctx.cameras = cameras
        ctx.max_alpha = max_alpha
        ctx.compositor = compositor
        ctx.saved = out.saved
        return out.image, 1 - out.transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to the six tensors."""
        *shape, opacities, features, background, image, transmittance = ctx.saved_tensors
        with torch.autocast(device_type=features.device.type, enabled=False):
            grad_image, grad_alpha = (g.float().contiguous() for g in grads)
            size = (ctx.cameras.rotation.shape[0], ctx.cameras.width, ctx.cameras.height)
            scene = FlatScene(ctx.splats, opacities, features, background, size, ctx.max_alpha)
            out = Composited(image, transmittance, ctx.saved)
            grad = ctx.compositor.backward(scene, out, grad_image, grad_alpha)
            grad_shape: tuple[Tensor | None, ...] = (None, None, None)
            if any(ctx.needs_input_grad[:3]):
                grad_shape = project_flat_backward(
                    tuple(shape), opacities, ctx.cameras, ctx.splats, grad.means, grad.conics
                )
            grad_background = transmittance @ grad_image if ctx.needs_input_grad[5] else None
        return *grad_shape, grad.opacities, grad.features, grad_background, None, None, None


def _splat_warp(
    gaussians: Gaussians, cameras: Cameras, background: Tensor, max_alpha: float, compositor: Compositor
) -> tuple[Tensor, Tensor]:
    """Splat with the Warp kernels: features [B, H, W, C], alpha [B, H, W]."""
    batch, _, channels = gaussians.features.shape
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[..., None])
    means, quats, scales, opacities = (t.reshape(-1, t.shape[-1]).contiguous() for t in tensors)
    features = gaussians.features.reshape(-1, channels)
    images = []
    alphas = []
    for part, behind in zip(features.split(_MAX_VECTOR, 1), background.split(_MAX_VECTOR), strict=True):
        image, alpha = _WarpSplats.apply(
            means,
            quats,
            scales,
            opacities[:, 0].contiguous(),
            part.contiguous(),
            behind.contiguous(),
            cameras,
            max_alpha,
            compositor,
        )
        images.append(image)
        alphas.append(alpha)
    image = images[0] if len(images) == 1 else torch.cat(images, 1)
    shape = (batch, cameras.height, cameras.width)
    return image.view(*shape, channels), alphas[0].view(shape)


def _splat_torch(
    gaussians: Gaussians, cameras: Cameras, background: Tensor, max_alpha: float, name: str
) -> tuple[Tensor, Tensor]:
    """Splat in torch: features [B, H, W, C], alpha [B, H, W]."""
    size = (gaussians.means.shape[0], cameras.width, cameras.height)
    splats = project(gaussians, cameras)
    opacities = gaussians.opacities.reshape(-1)
    features = gaussians.features.flatten(0, 1)
    return _REFERENCES[name](FlatScene(splats, opacities, features, background, size, max_alpha))


def _in_one_dtype(gaussians: Gaussians, cameras: Cameras, background: Tensor) -> tuple[Gaussians, Cameras, Tensor]:
    """Everything in float32, or in float64 if the means are."""
    dtype = torch.promote_types(gaussians.means.dtype, torch.float32)
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.features)
    rotation, translation, intrinsics = (
        t.detach().to(gaussians.means.device, dtype).contiguous()
        for t in (cameras.rotation, cameras.translation, cameras.intrinsics)
    )
    cameras = replace(cameras, rotation=rotation, translation=translation, intrinsics=intrinsics)
    return Gaussians(*(t.to(dtype) for t in fields)), cameras, background.to(gaussians.means.device, dtype)


def _check(gaussians: Gaussians, cameras: Cameras, background: Tensor, max_alpha: float) -> None:
    """Reject what would otherwise fail inside a kernel."""
    batch, count, channels = gaussians.features.shape
    if gaussians.means.shape != (batch, count, 3) or cameras.rotation.shape[0] != batch:
        raise UserError(
            f"Expected one camera per batch row and means [B, N, 3]; got features {tuple(gaussians.features.shape)}, "
            f"means {tuple(gaussians.means.shape)} and {cameras.rotation.shape[0]} cameras. Match the first dimensions."
        )
    if background.shape != (channels,):
        raise UserError(f"Expected a background of shape ({channels},) as features; got {tuple(background.shape)}.")
    if not 0.0 < max_alpha < 1.0:
        raise UserError(f"Expected 0 < max_alpha < 1; got {max_alpha}. Published: 0.99.")


def render_splats(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Tensor,
    backend: str = "auto",
    max_alpha: float = 0.99,
    room: ListRoom | None = None,
) -> SplatImage:
    """Splat each batch row into its own camera.

    Half-precision inputs are computed and returned in float32, also under autocast. Splats whose position or shape is
    not finite, that are behind the near plane (0.2), outside the image or below 1/255 in opacity are skipped and get
    zero gradients.

    Args:
        gaussians: Splats, world frame, C features each. [B, N, ...]
        cameras: One per batch row; constants, they get no gradient. [B, ...]
        background: Feature vector behind everything. [C]
        backend: "auto" and "warp" use the Warp kernels of the device ("auto" turns to torch for float64), "torch" is
            the vectorised reference, "gsplat" the optional CUDA library.
        max_alpha: Largest alpha of one splat (0.99 as published).
        room: Of frames: lets Warp's CUDA kernels go without the one wait of the host.

    Returns:
        Features over the background [B, C, H, W] and alpha [B, 1, H, W], differentiable in every field of `gaussians`
        and in `background`.

    Raises:
        UserError: The backend is unknown or not installed, or shapes do not match.
    """
    _check(gaussians, cameras, background, max_alpha)
    with torch.autocast(device_type=gaussians.means.device.type, enabled=False):
        gaussians, cameras, background = _in_one_dtype(gaussians, cameras, background)
        on_cuda = gaussians.means.device.type == "cuda"
        if backend == "auto":
            backend = "torch" if gaussians.means.dtype == torch.float64 else "warp"
        if backend in ("warp", "warp-blocks"):  # the second: the CUDA kernels wherever the tensors are, for tests
            if gaussians.means.dtype == torch.float64:
                raise UserError('The Warp backend computes in float32; got float64. Use backend="torch".')
            compositor = tiles_with(room) if on_cuda or backend == "warp-blocks" else BANDS
            image, alpha = _splat_warp(gaussians, cameras, background, max_alpha, compositor)
        elif backend in _REFERENCES:
            image, alpha = _splat_torch(gaussians, cameras, background, max_alpha, backend)
        elif backend == "gsplat":
            image, alpha = render_gsplat(gaussians, cameras, background, max_alpha)
        else:
            raise UserError(f"Expected a splat backend in {', '.join(BACKENDS)}; got {backend!r}.")
        return SplatImage(image.permute(0, 3, 1, 2), alpha[:, None])

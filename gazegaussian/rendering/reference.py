"""Compositing in plain torch: a brute-force oracle, and a vectorised version that is also the fallback.

Both take any floating dtype. The brute force looks at every (pixel, splat) pair, uses no closed-form gradient and is for
tests only. The vectorised version lists the pairs that matter, composites them with a segmented cumulative sum and
multiplies with the features as a sparse matrix.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gazegaussian.rendering.binning import expand_counts, pixel_boxes
from gazegaussian.rendering.projection import ALPHA_MIN, TRANSMITTANCE_MIN, FlatScene

_CHUNK = 1 << 18  # pairs at a time where a [pairs, C] intermediate is needed


def composite_brute_force(scene: FlatScene) -> tuple[Tensor, Tensor]:
    """Composite every splat at every pixel; autograd does the rest.

    Args:
        scene: Projected splats of any floating dtype.

    Returns:
        Features over the background [B, H, W, C] and accumulated opacity [B, H, W].
    """
    splats = scene.splats
    opacities = scene.opacities
    features = scene.features
    background = scene.background
    batch, width, height = scene.size
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], -1).reshape(-1, 2).to(features) + 0.5
    images = []
    alphas = []
    for ids in torch.arange(opacities.shape[0]).view(batch, -1):
        ids = ids[splats.extents[ids, 0] > 0]
        ids = ids[torch.argsort(splats.depths[ids], stable=True)]
        delta = splats.means[ids] - pixels[:, None]  # [P, N, 2]
        alpha = _alpha(delta, splats.conics[ids], opacities[ids], scene.max_alpha)
        after = torch.cumprod(1 - alpha, 1)
        before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
        # The first splat that would leave less than the minimum is not drawn, nor is any behind it.
        alive = torch.cumprod(((after >= TRANSMITTANCE_MIN) | (alpha == 0)).to(alpha.dtype), 1)
        weight = alive * alpha * before
        remaining = torch.prod(1 - alive * alpha, 1)
        images.append(weight @ features[ids] + remaining[:, None] * background)
        alphas.append(1 - remaining)
    return torch.stack(images).view(batch, height, width, -1), torch.stack(alphas).view(batch, height, width)


def _alpha(delta: Tensor, conic: Tensor, opacity: Tensor, max_alpha: float) -> Tensor:
    """Opacity of splats at an offset from their centres; zero below the cut-off. [..., 2], [..., 3], [...] -> [...]"""
    dx, dy = delta.unbind(-1)
    a, b, c = conic.unbind(-1)
    s = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacity * torch.exp(-s)).clamp_max(max_alpha)
    return torch.where((s >= 0) & (alpha >= ALPHA_MIN), alpha, 0)


class _CompositePairs(torch.autograd.Function):
    """Composite pairs sorted by (pixel, depth), with a closed-form backward that stores one number per pair."""

    @staticmethod
    def forward(
        ctx: Any, alpha: Tensor, features: Tensor, background: Tensor, starts: Tensor, splat: Tensor, pixel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pairs [K], starts of each pixel's pairs [P + 1] -> features [P, C], transmittance [P]."""
        log_through = torch.log1p(-alpha.double())
        total = torch.nn.functional.pad(torch.cumsum(log_through, 0), (1, 0))
        log_after = total[1:] - total[starts[:-1]][pixel]
        kept = log_after >= math.log(TRANSMITTANCE_MIN)
        before = torch.exp(log_after - log_through).to(alpha.dtype)
        weight = torch.where(kept, alpha * before, 0)
        size = (starts.numel() - 1, features.shape[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # sparse CSR calls itself a beta feature
            weights = torch.sparse_csr_tensor(starts, splat, weight, size, check_invariants=False)
        total = torch.nn.functional.pad(torch.cumsum(torch.where(kept, log_through, 0), 0), (1, 0))
        remaining = torch.exp(total[starts[1:]] - total[starts[:-1]]).to(alpha.dtype)
        ctx.save_for_backward(alpha, features, background, starts, splat, pixel, weight, before, remaining)
        return weights @ features + remaining[:, None] * background, remaining

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to alpha, features and background."""
        grad_image, grad_remaining = grads
        alpha, features, background, starts, splat, pixel, weight, before, remaining = ctx.saved_tensors
        colour = torch.empty_like(alpha)  # splat's feature along the pixel's gradient
        grad_features = torch.zeros_like(features)
        for part in torch.arange(alpha.numel(), device=alpha.device).split(_CHUNK):
            at = grad_image[pixel[part]]
            colour[part] = (at * features[splat[part]]).sum(-1)
            grad_features.index_add_(0, splat[part], weight[part, None] * at)
        running = torch.nn.functional.pad(torch.cumsum((weight * colour).double(), 0), (1, 0))
        behind = (running[starts[1:]][pixel] - running[1:]).to(alpha.dtype)
        beyond = remaining * (grad_image @ background + grad_remaining)
        grad_alpha = before * colour - (behind + beyond[pixel]) / (1 - alpha)
        return torch.where(weight > 0, grad_alpha, 0), grad_features, remaining @ grad_image, None, None, None


def composite_torch(scene: FlatScene) -> tuple[Tensor, Tensor]:
    """Composite in vectorised torch. Argument and returns as in `composite_brute_force`."""
    splats = scene.splats
    opacities = scene.opacities
    features = scene.features
    background = scene.background
    batch, width, height = scene.size
    with torch.no_grad():
        order = torch.argsort(splats.depths, stable=True)
        order = order[splats.extents[order, 0] > 0]
        x0, x1, y0, y1 = pixel_boxes(splats.means[order], splats.extents[order], width, height)
        owner, rank = expand_counts((x1 - x0) * (y1 - y0))
        columns = (x1 - x0)[owner]
        row = torch.div(rank, columns, rounding_mode="floor")
        px = x0[owner] + rank - row * columns
        py = y0[owner] + row
        splat = order[owner]
        centre = torch.stack([px, py], -1).to(features.dtype) + 0.5
        seen = _alpha(splats.means[splat] - centre, splats.conics[splat], opacities[splat], scene.max_alpha) > 0
        splat = splat[seen]
        px = px[seen]
        py = py[seen]
        image = torch.div(splat, max(opacities.shape[0] // batch, 1), rounding_mode="floor")
        pixel, permutation = torch.sort((image * height + py) * width + px, stable=True)
        splat = splat[permutation]
        starts = torch.nn.functional.pad(torch.bincount(pixel, minlength=batch * height * width).cumsum(0), (1, 0))
        centre = torch.stack([pixel % width, pixel // width % height], -1).to(features.dtype) + 0.5
    alpha = _alpha(splats.means[splat] - centre, splats.conics[splat], opacities[splat], scene.max_alpha)
    out, remaining = _CompositePairs.apply(alpha, features, background, starts, splat, pixel)
    return out.view(batch, height, width, -1), (1 - remaining).view(batch, height, width)

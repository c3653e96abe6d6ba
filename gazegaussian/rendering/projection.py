"""Perspective projection of 3-D Gaussians to the image (EWA), in torch with autograd.

Here pixel ``i`` has its centre at ``i + 0.5`` and ``u = fx x / z + cx``, which is the package's convention (centres at
integers, ``u = fx x / z + cx - 0.5``) with the axis moved by half a pixel.

Reference: Zwicker et al., EWA splatting, 2002; Kerbl et al., 3D Gaussian splatting, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gazegaussian.types import Cameras, Gaussians

NEAR = 0.2  # world units; what is closer to the camera plane is not drawn
DILATION = 0.3  # px^2 added to both variances, so that no splat is thinner than about a pixel
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
FRUSTUM_MARGIN = 1.3  # half images; the Jacobian is evaluated no further out (it blows up near the image plane)
CULLED = -1e9


@dataclass(frozen=True)
class ProjectedSplats:
    """Splats on the image plane, batch folded into one list of M = B * N."""

    means: Tensor  # [M, 2] px
    conics: Tensor  # [M, 3] inverse covariance (xx, xy, yy), 1 / px^2
    depths: Tensor  # [M] camera z, world units
    extents: Tensor  # [M, 2] half size in px of the box where alpha >= 1/255; negative = culled


@dataclass(frozen=True)
class FlatScene:
    """What is composited: the batch folded into one list of M = B * N splats."""

    splats: ProjectedSplats
    opacities: Tensor  # [M]
    features: Tensor  # [M, C]
    background: Tensor  # [C]
    size: tuple[int, int, int]  # images, width, height
    max_alpha: float


def rotation_columns(quats: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of the rotation matrices of (not necessarily unit) quaternions. [..., 4] -> 3 x [..., 3]"""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    first = torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1)
    second = torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1)
    third = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    return first, second, third


def _drawable(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Splats in front of the near plane, finite and not transparent. [B, N] bool"""
    depth = (gaussians.means * cameras.rotation[:, None, 2]).sum(-1) + cameras.translation[:, None, 2]
    rotated = torch.isfinite(gaussians.quats).all(-1) & (gaussians.quats != 0).any(-1)
    visible = (gaussians.opacities >= ALPHA_MIN) & torch.isfinite(gaussians.opacities)
    return (depth > NEAR) & torch.isfinite(gaussians.scales).all(-1) & rotated & visible


def project(gaussians: Gaussians, cameras: Cameras) -> ProjectedSplats:
    """Project each batch row with its own camera.

    Args:
        gaussians: Splats in the world frame. [B, N, ...]
        cameras: World-to-camera poses and intrinsics in pixels. [B, ...]

    Returns:
        Splats on the image plane, differentiable in means, quats and scales; culled rows carry no gradient.
    """
    with torch.no_grad():
        rows, ids = torch.nonzero(_drawable(gaussians, cameras), as_tuple=True)
        # A first pass finds what overflows; in the second it would put NaN into the gradients.
        *_, sound = _project_rows(gaussians, cameras, rows, ids)
        rows = rows[sound]
        ids = ids[sound]
    mean, conic, depth, extent, _ = _project_rows(gaussians, cameras, rows, ids)
    total = gaussians.opacities.numel()
    flat = rows * gaussians.opacities.shape[1] + ids
    return ProjectedSplats(
        means=mean.new_zeros(total, 2).index_copy(0, flat, mean),
        conics=conic.new_zeros(total, 3).index_copy(0, flat, conic),
        depths=depth.detach().new_zeros(total).index_copy(0, flat, depth.detach()),
        extents=extent.new_full((total, 2), CULLED).index_copy(0, flat, extent),
    )


def _project_rows(
    gaussians: Gaussians, cameras: Cameras, rows: Tensor, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, conic, depth, extent and soundness of the splats `ids` of the batch rows `rows`. [K, ...]"""
    rotation = cameras.rotation[rows]
    k = cameras.intrinsics[rows]
    fx = k[:, 0, 0]
    fy = k[:, 1, 1]
    cx = k[:, 0, 2]
    cy = k[:, 1, 2]
    centre = (rotation * gaussians.means[rows, ids][:, None]).sum(-1) + cameras.translation[rows]  # [K, 3]
    z = centre[:, 2]
    x = centre[:, 0] / z
    y = centre[:, 1] / z
    mean = torch.stack([fx * x + cx, fy * y + cy], -1)

    limit_x = FRUSTUM_MARGIN * 0.5 * cameras.width / fx
    limit_y = FRUSTUM_MARGIN * 0.5 * cameras.height / fy
    x = torch.maximum(torch.minimum(x, limit_x), -limit_x)
    y = torch.maximum(torch.minimum(y, limit_y), -limit_y)
    row_u = (fx / z)[:, None] * (rotation[:, 0] - x[:, None] * rotation[:, 2])  # rows of J R, world to pixels
    row_v = (fy / z)[:, None] * (rotation[:, 1] - y[:, None] * rotation[:, 2])
    axes = torch.stack(rotation_columns(gaussians.quats[rows, ids]), 1) * gaussians.scales[rows, ids][..., None]
    # [K, 3] projected principal axes
    u = (axes * row_u[:, None]).sum(-1)
    v = (axes * row_v[:, None]).sum(-1)
    a = (u * u).sum(-1) + DILATION
    b = (u * v).sum(-1)
    c = (v * v).sum(-1) + DILATION
    det = a * c - b * b
    conic = torch.stack([c, -b, a], -1) / det[:, None]
    with torch.no_grad():
        # alpha = opacity exp(-s) >= 1/255 where s <= log(255 opacity); widened by rounding.
        reach = torch.sqrt(2 * torch.log(gaussians.opacities[rows, ids] * 255).clamp_min(0) * 1.0001 + 1e-6)
        extent = reach[:, None] * torch.stack([a, c], -1).sqrt()
        sound = (det > 0) & torch.isfinite(det) & torch.isfinite(mean).all(-1)
    return mean, conic, z, extent, sound

"""Points through pinhole cameras."""

from __future__ import annotations

from torch import Tensor

from gazegaussian.geometry.rotations import full_precision
from gazegaussian.types import Cameras


def project_points(points: Tensor, cameras: Cameras) -> Tensor:
    """Project points to pixels: ``u = fx x / z + cx - 0.5``, pixel centres at integers.

    Args:
        points: World frame. [B, N, 3]
        cameras: One per row.

    Returns:
        Pixels (u, v) of points before the camera. [B, N, 2]
    """
    with full_precision(points):
        seen = points @ cameras.rotation.transpose(1, 2) + cameras.translation[:, None]
        pixels = seen @ cameras.intrinsics.transpose(1, 2)
        return pixels[..., :2] / pixels[..., 2:] - 0.5

"""What the released code does with cameras, where it differs from ours."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gazegaussian.geometry.rotations import full_precision
from gazegaussian.types import Cameras


def centred(cameras: Cameras) -> Cameras:
    """The same cameras with the principal point in the middle of the image, as the published splatting has them."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 2] = cameras.width / 2
    intrinsics[:, 1, 2] = cameras.height / 2
    return replace(cameras, intrinsics=intrinsics)


def published_landmarks(landmarks: Tensor, cameras: Cameras) -> Tensor:
    """Where the published loader puts landmarks: it takes R (P - t) for R^T (P - t), right for symmetric R alone.

    Args:
        landmarks: World frame, right. [B, L, 3]
        cameras: World to camera, one per row.

    Returns:
        World frame, as published. [B, L, 3]
    """
    with full_precision(landmarks):
        return landmarks @ (cameras.rotation @ cameras.rotation).transpose(1, 2)

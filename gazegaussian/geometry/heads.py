"""Between head frame and world: X_w = s R_h x + T."""

from __future__ import annotations

from torch import Tensor

from gazegaussian.geometry.rotations import axis_angle_to_matrix, full_precision


def head_to_world(points: Tensor, pose: Tensor, scale: Tensor) -> Tensor:
    """Take head-frame points to the world.

    Args:
        points: Head frame, model units. [B, N, 3]
        pose: Axis-angle (rad) and translation (world units). [B, 6]
        scale: World units per model unit. [B, 1]

    Returns:
        World positions. [B, N, 3]
    """
    rotation = axis_angle_to_matrix(pose[:, :3])
    with full_precision(points):
        return (scale[:, :, None] * points) @ rotation.transpose(1, 2) + pose[:, None, 3:]


def world_to_head(points: Tensor, pose: Tensor, scale: Tensor) -> Tensor:
    """Inverse of `head_to_world`. [B, N, 3] -> [B, N, 3]."""
    rotation = axis_angle_to_matrix(pose[:, :3])
    with full_precision(points):
        return (points - pose[:, None, 3:]) @ rotation / scale[:, :, None]

"""Heads as a whole: between head frame and world, X_w = s R_h x + T; directions; proportions."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.geometry.gaze import gaze_to_matrix, vector_to_pitchyaw
from gazegaussian.geometry.rotations import axis_angle_to_matrix, full_precision, matrix_to_axis_angle
from gazegaussian.geometry.tetrahedra import BOX_MAX, BOX_MIN
from gazegaussian.utils.constants import constant

HEAD_DEPTH = 1.2  # least depth of a head over its width; trackers of the face alone have landmarks on its front only


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


def facing(pose: Tensor) -> Tensor:
    """Where heads face in the world: pitch and yaw of their z axis, radians. [B, 6] -> [B, 2]."""
    return vector_to_pitchyaw(axis_angle_to_matrix(pose[:, :3])[:, :, 2])


def turned_to(pose: Tensor, direction: Tensor) -> Tensor:
    """Turn heads where they stand, roll kept: G(direction) G(facing)^-1 R_h with the rotations G without roll.

    Args:
        pose: Head to world: axis-angle (rad) and translation. [B, 6]
        direction: Pitch and yaw in the world that they are to face, radians. [B, 2]

    Returns:
        Poses. [B, 6]
    """
    with full_precision(pose):
        turn = gaze_to_matrix(direction) @ gaze_to_matrix(facing(pose)).transpose(1, 2)
        return torch.cat([matrix_to_axis_angle(turn @ axis_angle_to_matrix(pose[:, :3])), pose[:, 3:]], dim=-1)


def head_ellipsoid(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Place an ellipsoid of a head's proportions around landmarks, inside the box of the tetrahedral grid.

    Args:
        landmarks: Head frame, model units. [L, 3]

    Returns:
        Centre and radii. [3], [3]
    """
    low = landmarks.amin(0)
    high = landmarks.amax(0)
    low[2] = torch.minimum(low[2], high[2] - HEAD_DEPTH * (high[0] - low[0]))
    margin = 0.1
    low = torch.maximum(low, constant(BOX_MIN, low) + margin)
    high = torch.minimum(high, constant(BOX_MAX, high) - margin)
    return (low + high) / 2, ((high - low) / 2).clamp_min(0.3) * 1.05

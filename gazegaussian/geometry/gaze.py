"""Gaze and head directions: (pitch, yaw) in radians, vector (cos p sin y, sin p, cos p cos y)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.geometry.rotations import axis_angle_to_matrix
from gazegaussian.types import Cameras


def pitchyaw_to_vector(pitchyaw: Tensor) -> Tensor:
    """Unit vectors of directions. [..., 2] -> [..., 3]."""
    pitch, yaw = pitchyaw.unbind(-1)
    return torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], dim=-1)


def gaze_to_matrix(pitchyaw: Tensor) -> Tensor:
    """Rotations that take (0, 0, 1) to the gaze without roll: yaw about y after pitch about x. [..., 2] -> [..., 3, 3]."""
    pitch, yaw = pitchyaw.unbind(-1)
    zero = torch.zeros_like(pitch)
    return axis_angle_to_matrix(torch.stack([zero, yaw, zero], dim=-1)) @ axis_angle_to_matrix(
        torch.stack([-pitch, zero, zero], dim=-1)
    )


def vector_to_pitchyaw(vector: Tensor) -> Tensor:
    """Directions of (not necessarily unit) vectors. [..., 3] -> [..., 2]."""
    x, y, z = torch.nn.functional.normalize(vector, dim=-1).unbind(-1)
    return torch.stack([torch.asin(y.clamp(-1, 1)), torch.atan2(x, z)], dim=-1)


def angular_error(a: Tensor, b: Tensor) -> Tensor:
    """Angle between two directions, radians; finite gradients everywhere (atan2 of cross and dot).

    Args:
        a: Pitch and yaw, radians. [..., 2]
        b: Pitch and yaw, radians. [..., 2]

    Returns:
        Angles in [0, pi]. [...]
    """
    u = pitchyaw_to_vector(a)
    v = pitchyaw_to_vector(b)
    cross = torch.linalg.cross(u, v).square().sum(-1)
    return torch.atan2((cross + 1e-14).sqrt(), (u * v).sum(-1))


def head_pitchyaw(pose: Tensor, cameras: Cameras) -> Tensor:
    """Direction of the head's z axis n in the camera: pitch = asin(-n_y), yaw = atan2(n_x, -n_z).

    Args:
        pose: Head to world: axis-angle (rad), translation. [B, 6]
        cameras: One per row.

    Returns:
        Pitch up, yaw to the right of the image, radians. [B, 2]
    """
    forward = cameras.rotation @ axis_angle_to_matrix(pose[:, :3])[:, :, 2:]  # [B, 3, 1]
    x, y, z = forward[..., 0].unbind(-1)
    return torch.stack([torch.asin((-y).clamp(-1, 1)), torch.atan2(x, -z)], dim=-1)

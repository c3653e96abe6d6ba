"""Gaze and head directions: (pitch, yaw) in radians, vector (cos p sin y, sin p, cos p cos y)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.geometry.rotations import axis_angle_to_matrix
from gazegaussian.types import Cameras


def pitchyaw_to_vector(pitchyaw: Tensor) -> Tensor:
    """Unit vectors of directions. [..., 2] -> [..., 3]."""
    sine, sine_yaw = pitchyaw.sin().unbind(-1)
    cosine, cosine_yaw = pitchyaw.cos().unbind(-1)
    return torch.stack([cosine * sine_yaw, sine, cosine * cosine_yaw], dim=-1)


def gaze_to_matrix(pitchyaw: Tensor) -> Tensor:
    """Rotations that take (0, 0, 1) to the gaze without roll: yaw about y after pitch about x. [..., 2] -> [..., 3, 3]."""
    forward = pitchyaw_to_vector(pitchyaw)
    sine = pitchyaw.sin()
    cosine = pitchyaw.cos()
    zero = torch.zeros_like(pitchyaw[..., 0])
    right = torch.stack([cosine[..., 1], zero, -sine[..., 1]], dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)


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
    u, v = pitchyaw_to_vector(torch.stack(torch.broadcast_tensors(a, b))).unbind(0)
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

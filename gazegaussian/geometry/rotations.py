"""Rotations on top of `roma`. Quaternions are (w, x, y, z); vectors are rows, rotated as R v."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import roma
import torch
from torch import Tensor


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Switch autocast off on a tensor's device, and TF32 on CUDA: positions in bf16 would be off by whole pixels.

    cuDNN convolves single precision in TF32 unless told otherwise, with 10 bits of mantissa: too few for the variances of
    SSIM. Holds for what is called within, not for its gradients, which are computed later.
    """
    with torch.autocast(like.device.type, enabled=False):
        if like.device.type != "cuda":
            yield
            return
        cudnn = torch.backends.cudnn.allow_tf32
        matmul = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = cudnn
            torch.backends.cuda.matmul.allow_tf32 = matmul


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Exponential map, radians. [..., 3] -> [..., 3, 3]."""
    with full_precision(axis_angle):
        return roma.rotvec_to_rotmat(axis_angle)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Logarithm of rotation matrices, radians. [..., 3, 3] -> [..., 3]."""
    with full_precision(matrix):
        return roma.rotmat_to_rotvec(matrix)


def quat_to_matrix(quats: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions wxyz. [..., 4] -> [..., 3, 3]."""
    with full_precision(quats):
        return roma.unitquat_to_rotmat(quats.roll(-1, dims=-1))


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Unit quaternions wxyz of rotation matrices, up to sign. [..., 3, 3] -> [..., 4]."""
    with full_precision(matrix):
        return roma.rotmat_to_unitquat(matrix).roll(1, dims=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: rotate by b, then by a; leading dims broadcast. [..., 4] x [..., 4] -> [..., 4]."""
    aw = a[..., :1]
    av = a[..., 1:]
    bw = b[..., :1]
    bv = b[..., 1:]
    av, bv = torch.broadcast_tensors(av, bv)
    scalar = aw * bw - (av * bv).sum(-1, keepdim=True)
    vector = aw * bv + bw * av + torch.linalg.cross(av, bv)
    return torch.cat([scalar, vector], dim=-1)


def rotate_about(points: Tensor, quats: Tensor, centre: Tensor) -> Tensor:
    """Rotate points rigidly about a centre.

    Args:
        points: Head-frame positions, model units. [..., N, 3]
        quats: Unit rotations, wxyz. [..., 4]
        centre: Centre of rotation, head frame. [..., 3]

    Returns:
        Rotated positions. [..., N, 3]
    """
    centre = centre.unsqueeze(-2)
    with full_precision(points):
        return (points - centre) @ quat_to_matrix(quats).transpose(-1, -2) + centre

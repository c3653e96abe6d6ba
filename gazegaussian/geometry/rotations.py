"""Rotations. Quaternions are (w, x, y, z); vectors are rows, rotated as R v."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import roma
import torch
from torch import Tensor

from gazegaussian.utils.constants import constant

# All of these maps are linear in a vector, a matrix or the products of two quaternions: one matrix product each, where
# writing out the components costs a GPU dozens of calls for a handful of numbers.
_IDENTITY = tuple(tuple(float(i == j) for j in range(3)) for i in range(3))
_IDENTITY_4 = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
# v [3] -> K with K x = v cross x [9]
_CROSS = ((0, 0, 0, 0, 0, -1, 0, 1, 0), (0, 0, 1, 0, 0, 0, -1, 0, 0), (0, -1, 0, 1, 0, 0, 0, 0, 0))
# Component products of quaternions a and b, a's by rows: i j = k, j k = i, k i = j -> a b
_HAMILTON = (
    (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1),
    (0, 1, 0, 0), (-1, 0, 0, 0), (0, 0, 0, 1), (0, 0, -1, 0),
    (0, 0, 1, 0), (0, 0, 0, -1), (-1, 0, 0, 0), (0, 1, 0, 0),
    (0, 0, 0, 1), (0, 0, 1, 0), (0, -1, 0, 0), (-1, 0, 0, 0),
)  # fmt: skip
# The same products of one unit quaternion -> its rotation matrix
_ROTATION = (
    (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 0, 0, 0, -1, 0, 1, 0), (0, 0, 1, 0, 0, 0, -1, 0, 0), (0, -1, 0, 1, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, -1, 0, 1, 0), (1, 0, 0, 0, -1, 0, 0, 0, -1), (0, 1, 0, 1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 1, 0, 0),
    (0, 0, 1, 0, 0, 0, -1, 0, 0), (0, 1, 0, 1, 0, 0, 0, 0, 0), (-1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 0, 0, 0, 0, 1, 0, 1, 0),
    (0, -1, 0, 1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 1, 0, 1, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1),
)  # fmt: skip
# A rotation matrix -> 4 q q^T - I of its quaternion q
_OUTER = (
    (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1), (0, 0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, -1, 0, 0, 0),
    (0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0), (0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0),
    (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1), (0, -1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0),
    (0, 0, -1, 0, 0, 0, 0, 1, -1, 0, 0, 0, 0, 1, 0, 0), (0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0),
    (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1),
)  # fmt: skip


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
    """Exponential map, radians: I + sin(t) / t K + (1 - cos(t)) / t^2 K^2. [..., 3] -> [..., 3, 3]."""
    with full_precision(axis_angle):
        half = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None] / 2
        cross = (axis_angle @ constant(_CROSS, axis_angle)).unflatten(-1, (3, 3))  # K
        # torch's sinc has the factor pi in it, and slope 0 at 0
        half_sine = torch.sinc(half / math.pi)  # sin(t / 2) / (t / 2)
        sine = half_sine * torch.cos(half)
        return constant(_IDENTITY, axis_angle) + sine * cross + half_sine.square() / 2 * (cross @ cross)


def axis_angle_to_quat(axis_angle: Tensor) -> Tensor:
    """Unit quaternions wxyz of rotations in radians. [..., 3] -> [..., 4]."""
    half = torch.linalg.vector_norm(axis_angle, dim=-1, keepdim=True) / 2
    return torch.cat([torch.cos(half), torch.sinc(half / math.pi) / 2 * axis_angle], dim=-1)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Logarithm of rotation matrices, radians. [..., 3, 3] -> [..., 3]."""
    with full_precision(matrix):
        return roma.rotmat_to_rotvec(matrix)


def quat_to_matrix(quats: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions wxyz. [..., 4] -> [..., 3, 3]."""
    with full_precision(quats):
        products = (quats[..., :, None] * quats[..., None, :]).flatten(-2)  # [..., 16] ww, wx, wy, ...
        return (products @ constant(_ROTATION, quats)).unflatten(-1, (3, 3))


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Unit quaternions wxyz of rotation matrices, up to sign. [..., 3, 3] -> [..., 4].

    Of the rows of 4 q q^T, which are linear in the matrix, the one with the largest diagonal is q best (Markley 2008).
    """
    with full_precision(matrix):
        outer = (matrix.flatten(-2) @ constant(_OUTER, matrix)).unflatten(-1, (4, 4)) + constant(_IDENTITY_4, matrix)
        best = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1)  # [...]
        row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
        return torch.nn.functional.normalize(row, dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: rotate by b, then by a; leading dims broadcast. [..., 4] x [..., 4] -> [..., 4]."""
    with full_precision(a):
        products = (a[..., :, None] * b[..., None, :]).flatten(-2)  # [..., 16] of each component with each
        return products @ constant(_HAMILTON, a)


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

"""Frozen containers that pass between the parts.

Conventions, stated once:

* Camera frame: x right, y down, z forward; ``X_c = R X_w + t``.
* Image plane: pixel centres at integers, so that the centre of the top-left pixel is (0, 0) and
  ``u = fx x / z + cx - 0.5``. Intrinsics scale with the image size, ``cx = W / 2`` is the middle at every size.
* Head frame: x to the right of the image for a frontal face (the person's left), y up, z out of the face.
  Head to world: ``X_w = s R_h x + T``. Model units are those of the head frame (face about 2 units high).
* Gaze and head directions are (pitch, yaw) in radians, vector ``(cos p sin y, sin p, cos p cos y)`` in the head frame.
* Quaternions are (w, x, y, z). Images are RGB, [0, 1], channels first, white background.
* Shape code = [expression (64), identity (80)], in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


class _Movable:
    """Adds `.to(device)` and row selection to a frozen dataclass of tensors."""

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on `device`; to CUDA without waiting for it (pinned memory is copied beside the computation)."""
        non_blocking = torch.device(device).type == "cuda"
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    def rows(self, index: Tensor | slice | list[int]) -> Self:
        """Select rows of the batch dimension. A list is copied to the device, for which the host waits."""
        return self._each(lambda value: value[index])

    def repeated(self, times: int) -> Self:
        """Return the whole batch several times, one after the other."""
        return self._each(lambda value: value.repeat(times, *[1] * (value.dim() - 1)))

    def expanded(self, rows: int) -> Self:
        """Let so many rows share the only one, without copies."""
        return self._each(lambda value: value.expand(rows, *value.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, object] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, _Movable):
                changed[field.name] = value._each(change)
            elif isinstance(value, Tensor):
                changed[field.name] = change(value)
        return replace(self, **changed)  # type: ignore[type-var]


@dataclass(frozen=True)
class Cameras(_Movable):
    """A batch of pinhole cameras that share one image size."""

    rotation: Tensor  # [B, 3, 3] world to camera
    translation: Tensor  # [B, 3] world to camera, world units
    intrinsics: Tensor  # [B, 3, 3] pixels of a width x height image
    width: int
    height: int

    def resized(self, width: int, height: int) -> Cameras:
        """Return the same cameras for another image size."""
        u, v, w = self.intrinsics.unbind(1)
        scaled = torch.stack([u * (width / self.width), v * (height / self.height), w], dim=1)
        return replace(self, intrinsics=scaled, width=width, height=height)


@dataclass(frozen=True)
class HeadParameters(_Movable):
    """What drives a head: who, with which expression, where, looking where."""

    shape_code: Tensor  # [B, 144] expression 64, then identity 80
    pose: Tensor  # [B, 6] head to world: axis-angle (rad), translation (world units)
    scale: Tensor  # [B, 1] head to world
    gaze: Tensor  # [B, 2] pitch, yaw (rad), head frame


@dataclass(frozen=True)
class Batch(_Movable):
    """One batch of images with their labels."""

    image: Tensor  # [B, 3, H, W] RGB [0, 1], white background
    head_mask: Tensor  # [B, 1, H, W] in {0, 1}
    left_eye_mask: Tensor  # [B, 1, H, W] left = left in the image
    right_eye_mask: Tensor  # [B, 1, H, W]
    landmarks_2d: Tensor  # [B, 68, 2] pixels (x, y), pixel centres at integers
    landmarks_3d: Tensor  # [B, L, 3] world frame; 68 landmarks, then every 100th vertex
    parameters: HeadParameters
    cameras: Cameras
    index: Tensor  # [B] row in the data set, long

    @property
    def eye_mask(self) -> Tensor:
        """Union of both eyes. [B, 1, H, W]"""
        return torch.maximum(self.left_eye_mask, self.right_eye_mask)


@dataclass(frozen=True)
class Gaussians(_Movable):
    """One set of splats; leading dims agree."""

    means: Tensor  # [B, N, 3] world frame
    quats: Tensor  # [B, N, 4] wxyz, unit
    scales: Tensor  # [B, N, 3] standard deviations, world units, > 0
    opacities: Tensor  # [B, N] in (0, 1)
    features: Tensor  # [B, N, C]


@dataclass(frozen=True)
class SplatImage:
    """A splatted feature map."""

    features: Tensor  # [B, C, H, W] composited over the background vector
    alpha: Tensor  # [B, 1, H, W] accumulated opacity


@dataclass(frozen=True)
class MeshImage:
    """A rasterised mesh."""

    attributes: Tensor  # [B, C, H, W] interpolated, background where nothing is hit
    mask: Tensor  # [B, 1, H, W] hard coverage in {0, 1}
    silhouette: Tensor  # [B, 1, H, W] soft coverage in [0, 1], differentiable in the vertices

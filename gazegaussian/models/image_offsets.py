"""Small per-image corrections of codes and cameras; they exist in training only (published)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gazegaussian.dimensions import EXPRESSION_DIM, IDENTITY_DIM
from gazegaussian.geometry.rotations import axis_angle_to_matrix, full_precision
from gazegaussian.types import Cameras, HeadParameters


class ImageOffsets(nn.Module):
    """Offsets for every training image, all zero at first.

    Args:
        count: Training images.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.identity = nn.Parameter(torch.zeros(count, IDENTITY_DIM))
        self.expression = nn.Parameter(torch.zeros(count, EXPRESSION_DIM))
        self.rotation = nn.Parameter(torch.zeros(count, 3))  # axis-angle, rad, camera frame
        self.translation = nn.Parameter(torch.zeros(count, 3))  # world units, camera frame

    def of(self, index: Tensor) -> OffsetRows:
        """Offsets of some images, by their rows in the training set. [B]."""
        columns = (self.identity, self.expression, self.rotation, self.translation)
        return OffsetRows(*(column[index] for column in columns))


class OffsetRows(NamedTuple):
    """Offsets of B images."""

    identity: Tensor  # [B, 80]
    expression: Tensor  # [B, 64]
    rotation: Tensor  # [B, 3]
    translation: Tensor  # [B, 3]

    def apply_to(self, parameters: HeadParameters, cameras: Cameras) -> tuple[HeadParameters, Cameras]:
        """Return corrected parameters and cameras of the same images."""
        code = torch.cat([self.expression, self.identity], dim=-1)
        with full_precision(self.rotation):
            rotation = axis_angle_to_matrix(self.rotation) @ cameras.rotation
        return (
            replace(parameters, shape_code=parameters.shape_code + code),
            replace(cameras, rotation=rotation, translation=cameras.translation + self.translation),
        )

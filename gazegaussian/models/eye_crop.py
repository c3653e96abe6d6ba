"""Where the frozen networks look for the eyes.

Gaze networks must see the eyes at full resolution, so each eye is cut from the image around the middle of its corners.
Only landmarks that do not move with the gaze are used (jaw, nose, eye corners): the lids follow the vertical gaze, and a
reading that could see them in the labels would be no reading of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gazegaussian.utils.constants import constant

STEADY_LANDMARKS = (*range(17), *range(27, 36), 36, 39, 42, 45)  # jaw, nose, eye corners
CORNERS = ((36, 39), (42, 45))  # image-left eye, image-right eye
CROP_HEIGHT = 40
CROP_WIDTH = 64
CROP_HALF_WIDTH = 0.3  # of the landmarks' size (root mean square distance from their middle)


class Layout(NamedTuple):
    """The steady landmarks without position and size."""

    positions: Tensor  # [B, 30, 2]
    middle: Tensor  # [B, 2] px
    size: Tensor  # [B] px


def layout(landmarks_2d: Tensor) -> Layout:
    """Describe the steady landmarks without position and size.

    Args:
        landmarks_2d: Pixels. [B, 68, 2]

    Returns:
        Normalised positions [B, 30, 2], their middle in pixels [B, 2] and their size in pixels [B].
    """
    steady = landmarks_2d.index_select(1, constant(STEADY_LANDMARKS, landmarks_2d, torch.long))
    middle = steady.mean(1)
    around = steady - middle[:, None]
    size = around.square().sum(-1).mean(1).sqrt()
    return Layout(around / size[:, None, None], middle, size)


def crop_eyes(image: Tensor, landmarks_2d: Tensor, zoom: float = 1.0, steady: Layout | None = None) -> Tensor:
    """Cut both eyes, differentiable in the image.

    Args:
        image: [B, 3, H, W]
        landmarks_2d: Pixels of that image, pixel centres at integers. [B, 68, 2]
        zoom: Linear size of the cut-out; the crop grows in pixels with it.
        steady: Layout of the landmarks, where it is known.

    Returns:
        Image-left, then image-right eye. [B, 6, 40 * zoom, 64 * zoom]
    """
    height = round(CROP_HEIGHT * zoom)
    width = round(CROP_WIDTH * zoom)
    steady = layout(landmarks_2d) if steady is None else steady
    half = CROP_HALF_WIDTH * zoom * steady.size  # [B] pixels
    extent = constant((image.shape[-1], image.shape[-2]), image)
    corners = landmarks_2d.index_select(1, constant(sum(CORNERS, ()), landmarks_2d, torch.long))
    centres = corners.unflatten(1, (2, 2)).mean(2)  # [B, 2 eyes, 2]
    # The rows of the second eye below those of the first: both are cut in one call.
    pixels = centres[:, :, None, None] + _offsets(height, width, landmarks_2d) * half[:, None, None, None, None]
    grid = ((pixels + 0.5) / extent * 2 - 1).flatten(1, 2)  # [B, 2 h, w, 2]
    crops = torch.nn.functional.grid_sample(
        image, grid.to(image.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return crops.unflatten(2, (2, height)).transpose(1, 2).flatten(1, 2)


def _offsets(height: int, width: int, like: Tensor) -> Tensor:
    """Pixels of a crop from its middle, in half widths. [h, w, 2]."""
    x = (torch.arange(width, device=like.device) + 0.5) / width * 2 - 1
    y = ((torch.arange(height, device=like.device) + 0.5) / height * 2 - 1) * (CROP_HEIGHT / CROP_WIDTH)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

"""Which validation images are looked at, and grids of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 2  # white pixels between tiles


def spread(count: int, wanted: int | None) -> list[int]:
    """Pick `wanted` rows of `count`, evenly spread; all of them when `wanted` is None or more."""
    wanted = min(count, wanted or count)
    return [i * count // wanted for i in range(wanted)]


def image_grid(rows: Sequence[Tensor]) -> Tensor:
    """Arrange batches as rows of a grid.

    Args:
        rows: Batches of equally many equally large images in [0, 1]. Each [B, 3, H, W]

    Returns:
        One image. [3, rows * (H + 2), B * (W + 2)]
    """
    padded = [torch.nn.functional.pad(row.detach().float(), (0, GAP, 0, GAP), value=1.0) for row in rows]
    return torch.cat([torch.cat(list(row), dim=-1) for row in padded], dim=-2).clamp(0, 1)


def with_header(grid: Tensor, labels: Sequence[str]) -> Tensor:
    """Write a label above every column of a grid.

    Args:
        grid: As `image_grid` makes it, in [0, 1]. [3, H, W]
        labels: One per column, each as short as a column is wide.

    Returns:
        The grid under a white band with the labels. [3, H + band, W]
    """
    tile = grid.shape[-1] // len(labels)
    return torch.cat([text_band(grid, labels, tile), grid], dim=-2)


def text_band(like: Tensor, labels: Sequence[str], tile: int) -> Tensor:
    """Draw labels side by side on white.

    Args:
        like: An image as wide as the band. [3, H, W]
        labels: One per column.
        tile: Width of an image of the grid, which sets the size of the letters.

    Returns:
        [3, band, W]
    """
    width = like.shape[-1]
    font = ImageFont.load_default(size=max(8, tile // 12))
    band = Image.new("L", (width, max(12, tile // 7)), 255)
    draw = ImageDraw.Draw(band)
    for column, label in enumerate(labels):
        draw.text(((column + 0.5) * width / len(labels), band.height / 2), label, fill=0, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(band, np.float32) / 255).to(like).expand(3, -1, -1)

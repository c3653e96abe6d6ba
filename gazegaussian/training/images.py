"""Grids of validation images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GAP = 2  # white pixels between tiles


def image_grid(rows: Sequence[Tensor]) -> Tensor:
    """Arrange batches as rows of a grid.

    Args:
        rows: Batches of equally many equally large images in [0, 1]. Each [B, 3, H, W]

    Returns:
        One image. [3, rows * (H + 2), B * (W + 2)]
    """
    padded = [torch.nn.functional.pad(row.detach().float(), (0, GAP, 0, GAP), value=1.0) for row in rows]
    return torch.cat([torch.cat(list(row), dim=-1) for row in padded], dim=-2).clamp(0, 1)

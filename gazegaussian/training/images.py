"""Which validation images are looked at, and grids of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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

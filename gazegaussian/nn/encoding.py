"""Positional encoding (Mildenhall et al. 2020, eq. 4, without the factor pi, input kept)."""

from __future__ import annotations

import torch
from torch import Tensor

FREQUENCIES = 4


def positional_encoding(x: Tensor, frequencies: int = FREQUENCIES) -> Tensor:
    """Encode as [x, sin x, cos x, sin 2x, cos 2x, sin 4x, ...]. [..., D] -> [..., encoded_dim(D)]."""
    parts = [x]
    for k in range(frequencies):
        parts += [torch.sin(x * 2.0**k), torch.cos(x * 2.0**k)]
    return torch.cat(parts, dim=-1)


def encoded_dim(dim: int, frequencies: int = FREQUENCIES) -> int:
    """Channels after `positional_encoding`."""
    return dim * (1 + 2 * frequencies)

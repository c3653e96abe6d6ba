"""Positional encoding (Mildenhall et al. 2020, eq. 4, without the factor pi, input kept)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from gazegaussian.utils.constants import constant

FREQUENCIES = 4


def positional_encoding(x: Tensor, frequencies: int = FREQUENCIES) -> Tensor:
    """Encode as [x, sin x, cos x, sin 2x, cos 2x, sin 4x, ...]. [..., D] -> [..., encoded_dim(D)]."""
    scaled = x[..., None, :] * constant(tuple((2.0**k,) for k in range(frequencies)), x)  # [..., K, D]
    waves = zip(torch.sin(scaled).unbind(-2), torch.cos(scaled).unbind(-2), strict=True)
    return torch.cat([x, *itertools.chain.from_iterable(waves)], dim=-1)


def encoded_dim(dim: int, frequencies: int = FREQUENCIES) -> int:
    """Channels after `positional_encoding`."""
    return dim * (1 + 2 * frequencies)

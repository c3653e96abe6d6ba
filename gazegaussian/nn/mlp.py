"""The multilayer perceptron of the published model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.01


class MLP(nn.Module):
    """Linear layers with leaky ReLU after all but the last.

    The input is concatenated after the hidden vector at the input of layer `floor(len(dims) / 2)`, where
    `dims = [in_dim, *hidden, out_dim]` (published GazeGaussian and GazeNeRF code).

    Args:
        in_dim: Input channels.
        hidden: Widths of the hidden layers.
        out_dim: Output channels.
    """

    def __init__(self, in_dim: int, hidden: Sequence[int], out_dim: int) -> None:
        super().__init__()
        dims = [in_dim, *hidden, out_dim]
        self.skip = len(dims) // 2
        self.layers = nn.ModuleList(
            nn.Linear(a + (in_dim if i == self.skip else 0), b) for i, (a, b) in enumerate(itertools.pairwise(dims))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension. [..., in_dim] -> [..., out_dim]."""
        hidden = x
        for i, layer in enumerate(self.layers):
            if i == self.skip:
                hidden = torch.cat([hidden, x], dim=-1)
            hidden = layer(hidden)
            if i < len(self.layers) - 1:
                hidden = nn.functional.leaky_relu(hidden, NEGATIVE_SLOPE)
        return hidden

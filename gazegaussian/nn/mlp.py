"""The multilayer perceptron of the published model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01


def to_autocast(x: Tensor) -> Tensor:
    """Cast to the type that autocast computes in, once: each layer would cast the same values anew."""
    device = x.device.type
    if device != "cuda" or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _of_points(points: Tensor, weight: Tensor, shift: Tensor, shared: bool) -> Tensor:
    """Linear map of points plus a vector per sample; of points that the samples share it is computed once.

    On CUDA one sample's vector is added by the product itself, which saves reading and writing the result.

    Args:
        points: Shared by the samples [N, D], or of every sample [B N, D].
        weight: [K, D]
        shift: [B, K]
        shared: Which of both.

    Returns:
        New memory, no view. [B, N, K], or [N, K] of one sample on CUDA.
    """
    if points.device.type == "cuda" and len(shift) == 1:
        return F.linear(points, weight, shift.squeeze(0))
    product = F.linear(points, weight)
    return (product if shared else product.unflatten(0, (len(shift), -1))) + shift[:, None]


class MLP(nn.Module):
    """Linear layers with leaky ReLU after all but the last.

    The input is concatenated after the hidden vector at the input of layer `floor(len(dims) / 2)`, where
    `dims = [in_dim, *hidden, out_dim]` (published GazeGaussian and GazeNeRF code).

    Args:
        in_dim: Input channels.
        hidden: Widths of the hidden layers.
        out_dim: Output channels.
        silent: How many of the last inputs start without influence (zero weights). Codes of people start so: with random
            weights, all that a new person's code does not share with the training people's is noise in the output for good.
    """

    def __init__(self, in_dim: int, hidden: Sequence[int], out_dim: int, silent: int = 0) -> None:
        super().__init__()
        dims = [in_dim, *hidden, out_dim]
        self.skip = len(dims) // 2
        self.layers = nn.ModuleList(
            nn.Linear(a + (in_dim if i == self.skip else 0), b) for i, (a, b) in enumerate(itertools.pairwise(dims))
        )
        for i in {0, self.skip} if silent else ():
            layer = self.layers[i]
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight[:, -silent:])

    def forward(self, x: Tensor, condition: Tensor | None = None, outputs: int | None = None) -> Tensor:
        """Map the last dimension.

        Args:
            x: Inputs [..., in_dim]; with a condition only their first part, shared [N, D] or per sample [B, N, D].
            condition: The rest of the input, one vector per sample. [B, in_dim - D]
            outputs: Compute this many of the first outputs only; None computes all.

        Returns:
            Outputs: [..., out_dim] or, with a condition, [B, N, out_dim].
        """
        x = to_autocast(x)
        condition = None if condition is None else to_autocast(condition)
        shared = condition is not None and x.dim() == 2
        shape = (len(condition), *x.shape[:-1]) if condition is not None and shared else x.shape[:-1]
        points = x.reshape(-1, x.shape[-1])
        hidden = points
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            # Rows: with more dimensions a linear layer's result is a view, and writing to one has its gradient copied thrice.
            hidden = hidden.reshape(-1, hidden.shape[-1])
            weight: Tensor = layer.weight
            bias: Tensor = layer.bias
            if outputs is not None and i == len(self.layers) - 1:
                weight = weight[:outputs]
                bias = bias[:outputs]
            if condition is not None and i in (0, self.skip):
                # The product with [hidden, points, condition] as a sum of three: the points' is computed once for all samples
                # that share them, the condition's once per sample.
                rest = condition.shape[1]
                widths = [weight.shape[1] - points.shape[1] - rest, points.shape[1], rest]
                of_hidden, of_points, of_condition = weight.split(widths, dim=1)
                sums = _of_points(points, of_points, F.linear(condition, of_condition, bias), shared)
                hidden = torch.addmm(sums.reshape(-1, len(weight)), hidden, of_hidden.T) if i else sums
            else:
                hidden = F.linear(torch.cat([hidden, points], dim=-1) if i == self.skip else hidden, weight, bias)
            if i < len(self.layers) - 1:
                # In place: the gradient follows from the result, and the input would be kept for nothing.
                hidden = F.leaky_relu(hidden, NEGATIVE_SLOPE, inplace=True)
        return hidden.view(*shape, hidden.shape[-1])

"""Weights of layers in half precision, cast together.

Autocast casts every weight, every bias and every gradient of them by a call of its own, and slices of a weight each time anew.
Here all are cast by one call, and so are their gradients. The values are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _CastTogether(torch.autograd.Function):
    """Tensors in another type, as one differentiable step."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Cast. [...] each -> the same."""
        ctx.set_materialize_grads(False)
        ctx.dtype = tensors[0].dtype
        return tuple(_together(tensors, dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Cast back; None for what was not used."""
        back = iter(_together([grad for grad in grads if grad is not None], ctx.dtype))
        return None, *(None if grad is None else next(back) for grad in grads)


def _together(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    made = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(made, list(tensors))
    return made


def castable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters, by name, of the layers that autocast computes in half precision; rotations stay in full precision."""
    parameters: dict[str, nn.Parameter] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and "eye_rotation" not in name:
            parameters |= {f"{name}.{key}": value for key, value in layer.named_parameters(recurse=False)}
    return parameters


def cast_together(module: nn.Module) -> dict[str, Tensor]:
    """Cast the weights of a module's layers to what autocast computes in, for `torch.func.functional_call`.

    Returns:
        Cast weights by their names; none where autocast is off, and on the CPU.
    """
    layers = castable(module)
    if not torch.is_autocast_enabled("cuda") or next(iter(layers.values())).device.type != "cuda":
        return {}
    cast = _CastTogether.apply(torch.get_autocast_dtype("cuda"), *layers.values())
    return dict(zip(layers, cast, strict=True))

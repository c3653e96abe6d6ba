"""Small constant tensors, kept per device.

Made anew in every step, each would be copied to the GPU while the host waits; the copies are as slow as kernels.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def constant(values: Any, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor of numbers on the device of another one; the same tensor each time, so it must not be written to.

    Args:
        values: A tuple of numbers, or of such tuples.
        like: Gives the device and, unless one is named, the type.
        dtype: Of the result.
    """
    return _kept(values, like.device, dtype or like.dtype)


@functools.lru_cache(maxsize=256)
def _kept(values: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


forget_constants = _kept.cache_clear  # for whoever counts on tensors that are not real

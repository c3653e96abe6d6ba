"""What a training computes on: precision, device and driver. Results of different ones differ a little."""

from __future__ import annotations

import torch

from gazegaussian.utils.driver import driver_version

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def precision_name(dtype: torch.dtype) -> str:
    """`fp32`, `bf16` or `fp16`."""
    return _NAMES[dtype]


def hardware_of(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Describe what a training computes on.

    Args:
        device: Where it computes.
        dtype: Of autocast.

    Returns:
        `precision`, `device` (the GPU's name or `cpu`) and, of a GPU, `driver`.
    """
    hardware = {"precision": precision_name(dtype), "device": device.type}
    if device.type == "cuda":
        hardware |= {"device": torch.cuda.get_device_name(device), "driver": driver_version()}
    return hardware

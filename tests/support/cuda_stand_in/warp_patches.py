"""Warp launches on the stand-in: the CUDA kernels, tiles and blocks included, run on the CPU."""

from __future__ import annotations

from typing import Any

import warp as wp
from torch.utils._python_dispatch import _disable_current_modes

from cuda_stand_in.record import RECORD
from cuda_stand_in.tensor import CudaTensor
from cuda_stand_in.torch_patches import NAME, Stream


def install() -> None:
    """Replace what the renderers call."""
    if not hasattr(wp.config, "enable_cpu_blocks"):
        raise RuntimeError(
            f"The stand-in runs CUDA's kernels on the CPU, which Warp {wp.config.version} cannot; it needs 1.19."
        )
    from_torch = wp.from_torch
    launch = wp.launch

    def array(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return from_torch(tensor.data_on_cpu if isinstance(tensor, CudaTensor) else tensor, *args, **kwargs)

    def launched(kernel: Any, *args: Any, stream: Any = None, block_dim: int | None = None, **kwargs: Any) -> Any:
        if stream is None:
            return launch(kernel, *args, block_dim=block_dim, **kwargs)
        RECORD.launches[kernel.key + (" adjoint" if kwargs.get("adjoint") else "")] += 1
        before = wp.config.enable_cpu_blocks
        wp.config.enable_cpu_blocks = block_dim not in (None, 1)
        try:
            with _disable_current_modes():
                return launch(kernel, *args, device="cpu", block_dim=block_dim, **kwargs)
        finally:
            wp.config.enable_cpu_blocks = before

    wp.from_torch = array
    wp.launch = launched
    wp.stream_from_torch = lambda stream=None: Stream()
    wp.get_cuda_device_count = lambda: 1
    wp.is_cuda_available = lambda: True
    wp.get_device_name = lambda: NAME

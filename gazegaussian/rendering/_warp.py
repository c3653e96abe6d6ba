"""NVIDIA Warp with torch: tensors as arrays, threads on the CPU, torch's stream on CUDA.

A Warp launch on the CPU is one sequential loop, so a launch that may run in parallel is split over a pool of Python
threads (the call releases the interpreter's lock). Pools belong to one process id: after a fork a new one is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gazegaussian.utils import warp_setup

wp: Any = warp_setup.wp  # Warp's own types do not describe what a kernel's body may do
warp_setup.start()

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_compiled: set[Any] = set()


def as_array(tensor: Tensor, dtype: Any = None) -> Any:
    """View a contiguous tensor as a Warp array (a bare C descriptor: no Python object to build)."""
    tensor = tensor.detach()
    if tensor.dim() > 1 and tensor.stride(-1) != 1:  # of length 1, where torch lets the stride be anything
        tensor = tensor.reshape(-1).view(tensor.shape)
    return wp.from_torch(tensor, dtype=dtype, return_ctype=True)


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="splat")
    return _pools[key]


# Warp's builds for CUDA 12 have no blocks of several threads on the CPU: there the tiled kernels need a GPU.
HAS_CPU_BLOCKS = hasattr(wp.config, "enable_cpu_blocks")


@contextmanager
def cpu_blocks() -> Iterator[None]:
    """Let launches on the CPU have blocks of several threads (experimental in Warp, and slow), where Warp can."""
    if not HAS_CPU_BLOCKS:
        yield
        return
    before = wp.config.enable_cpu_blocks
    wp.config.enable_cpu_blocks = True
    try:
        yield
    finally:
        wp.config.enable_cpu_blocks = before


def launch(kernel: Any, dim: int, inputs: Sequence[Any], device: torch.device, block_dim: int | None = None) -> None:
    """Launch once, in order; on CUDA in torch's current stream."""
    if dim == 0:
        return
    if device.type == "cuda":
        stream = wp.stream_from_torch(torch.cuda.current_stream(device))
        wp.launch(kernel, dim=dim, inputs=inputs, stream=stream, block_dim=block_dim, record_tape=False)
    else:
        wp.launch(kernel, dim=dim, inputs=inputs, device="cpu", block_dim=block_dim, record_tape=False)


def launch_strided(kernel: Any, dim: int, inputs: Sequence[Any]) -> None:
    """Run `dim` independent work items on the CPU, shared out among `torch.get_num_threads()` threads.

    The kernel's last two arguments are (first, stride): work item `i` is `first + tid * stride`, so neighbouring items,
    which cost about the same, go to different threads. What an item computes does not depend on the split.
    """
    if dim == 0:
        return
    threads = min(torch.get_num_threads(), dim)

    def part(first: int) -> None:
        count = (dim - first + threads - 1) // threads
        wp.launch(kernel, dim=count, inputs=[*inputs, first, threads], device="cpu", record_tape=False)

    _run_parts(kernel, [partial(part, first) for first in range(threads)])


def _run_parts(kernel: Any, parts: Sequence[Callable[[], None]]) -> None:
    """Run the parts of one launch, the first in this thread."""
    if kernel not in _compiled:  # compile in one thread only
        parts[0]()
        parts = parts[1:]
        _compiled.add(kernel)
    futures = [_pool(len(parts)).submit(part) for part in parts[1:]]
    for part in parts[:1]:
        part()
    for future in futures:
        future.result()


def launch_split(
    kernel: Any,
    dim: int,
    inputs: Sequence[Any],
    device: torch.device,
    adjoint: Sequence[Any] | None = None,
    unit: int = 1,
) -> None:
    """Launch `dim` independent units, on the CPU shared out in runs; the kernel's last argument is the first element.

    Args:
        kernel: Takes element `first + tid`.
        dim: Units.
        inputs: All arguments but `first`.
        device: Where.
        adjoint: Gradients of all arguments; given, the kernel's adjoint is launched instead.
        unit: Elements that stay together in one thread.
    """
    if dim * unit == 0:
        return
    extra: dict[str, Any] = {"record_tape": False}
    if adjoint is not None:
        extra |= {"adjoint": True, "adj_inputs": adjoint}
    if device.type == "cuda":
        extra["stream"] = wp.stream_from_torch(torch.cuda.current_stream(device))
        wp.launch(kernel, dim=dim * unit, inputs=[*inputs, 0], **extra)
        return

    def run(first: int, stop: int) -> None:
        wp.launch(kernel, dim=(stop - first) * unit, inputs=[*inputs, first * unit], device="cpu", **extra)

    # A launch costs about as much as a hundred elements.
    threads = max(min(torch.get_num_threads(), dim, dim * unit // 1024), 1)
    bounds = [dim * k // threads for k in range(threads + 1)]
    _run_parts(kernel, [partial(run, *bounds[k : k + 2]) for k in range(threads)])

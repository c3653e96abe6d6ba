"""NVIDIA Warp, set up once: cache folder, quiet, threads on the CPU, torch's stream on CUDA.

A Warp launch on the CPU is one sequential loop, so a launch that may run in parallel is split over a pool of Python
threads (the call releases the interpreter's lock). Pools belong to one process id: after a fork a new one is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _import_warp() -> Any:
    """Import and initialise Warp; choose a cache folder unless the user has chosen one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gazegaussian" / "warp"
    os.environ.setdefault("WARP_CACHE_PATH", str(cache))
    import warp

    # Errors only while it starts: a machine without a GPU is no reason for a warning.
    warp.config.log_level = warp.LOG_ERROR
    warp.init()
    warp.config.log_level = warp.LOG_WARNING
    return warp


wp = _import_warp()


def as_array(tensor: Tensor, dtype: Any = None) -> Any:
    """View a contiguous tensor as a Warp array (a bare C descriptor: no Python object to build)."""
    return wp.from_torch(tensor.detach(), dtype=dtype, return_ctype=True)


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="splat")
    return _pools[key]


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
    threads = min(torch.get_num_threads(), dim)
    if threads <= 1:
        launch(kernel, dim, [*inputs, 0, 1], torch.device("cpu"))
        return

    def part(first: int) -> None:
        count = (dim - first + threads - 1) // threads
        wp.launch(kernel, dim=count, inputs=[*inputs, first, threads], device="cpu", record_tape=False)

    futures = [_pool(threads).submit(part, first) for first in range(1, threads)]
    part(0)
    for future in futures:
        future.result()

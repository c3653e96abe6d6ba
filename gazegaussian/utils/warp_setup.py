"""NVIDIA Warp as everyone here gets it: one cache folder, and no banner.

Import Warp from this module only, and call `start` before the first array or launch. Warp itself would start on first
use as well, but with a warning on machines without a GPU.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

# Unless the user has chosen one. Warp reads it when it is imported.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gazegaussian" / "warp"
os.environ.setdefault("WARP_CACHE_PATH", str(_CACHE))
import warp as wp  # noqa: E402

wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)

__all__ = ["start", "wp"]


@contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr: Warp warns there that a machine without a GPU has no driver."""
    sys.stderr.flush()
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


@functools.cache
def start() -> None:
    """Start Warp, once per process. What it says on a machine with CUDA is shown: the driver may be too old."""
    with nullcontext() if torch.cuda.is_available() else _no_native_stderr():
        wp.init()

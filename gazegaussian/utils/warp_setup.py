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

from gazegaussian.errors import DeviceError  # noqa: E402
from gazegaussian.utils.driver import driver_version  # noqa: E402

_LEAST_DRIVERS = {12: 525, 13: 580}

wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)

__all__ = ["require_device", "start", "wp"]


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


def require_device(device: torch.device) -> None:
    """Find out whether the renderers have the device that torch has.

    Raises:
        DeviceError: Warp finds no GPU: mostly since the driver is older than the CUDA version that Warp was built for.
    """
    start()
    if device.type != "cuda" or wp.get_cuda_device_count() > 0:
        return
    needed = wp.get_cuda_toolkit_version()
    driver = wp.get_cuda_driver_version()
    raise DeviceError(
        f"The renderers (Warp {wp.config.version}) find no GPU, although torch finds {torch.cuda.get_device_name(device)}. "
        f"They need a driver for CUDA {_number(needed)}{_least_driver(needed)}; this one (driver {driver_version()}) is for CUDA "
        f"{_number(driver)}. Update the driver, take a newer runtime{_older_build(needed, driver)}, or use --device cpu."
    )


def _older_build(needed: tuple[int, int] | None, driver: tuple[int, int] | None) -> str:
    """The last Warp that the package index has for CUDA 12, where the driver is one for CUDA 12."""
    if needed is None or driver is None or needed[0] != 13 or driver[0] != 12:
        return ""
    return ", install Warp's build for CUDA 12 (`pip install 'warp-lang==1.17.*'`)"


def _number(version: tuple[int, int] | None) -> str:
    return ".".join(map(str, version)) if version else "of an unknown version"


def _least_driver(toolkit: tuple[int, int] | None) -> str:
    """The first driver of a major version of CUDA, by NVIDIA's release notes."""
    least = _LEAST_DRIVERS.get(toolkit[0]) if toolkit else None
    return f", R{least} or later" if least else ""

"""The life of child processes, and the memory they may use."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from gazegaussian.utils.cores import control_groups, numbers


def die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def portable(error: BaseException) -> BaseException:
    """Make an error that survives the way to another process, with its traceback as a note."""
    error.add_note("in the training's process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign class does when it is pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def available_memory() -> int:
    """Measure the memory that this process could still get without swapping, in bytes.

    The smallest of: what the machine has available, and what each control group that holds this process has left. The page
    cache of a group counts as free: the kernel drops it when the group needs memory.
    """
    return min([psutil.virtual_memory().available, *(max(0, left) for left in _left_in_groups())])


def _left_in_groups() -> Iterator[int]:
    """Bytes that are left in each group with a limit."""
    for folder in control_groups("memory"):
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        settings = [numbers(folder / name) or [None] for name in names]
        limits = [limit for (limit, *_) in settings if limit is not None]
        used = numbers(folder / "memory.current") or numbers(folder / "memory.usage_in_bytes")
        if limits and used and used[0] is not None:
            yield min(limits) - used[0] + _page_cache(folder)


def _page_cache(folder: Path) -> int:
    """Bytes of files that a group keeps in memory; those of version 1 count the groups below only under `total_`."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        counters = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return 0
    return sum(counters.get(f"total_{name}", counters.get(name, 0)) for name in ("inactive_file", "active_file"))

"""Memory that this process may still get: limits of its control groups (containers, Slurm, systemd) included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from gazegaussian.utils.cores import control_groups, numbers


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
        found = [numbers(folder / name) or [None] for name in names]
        limits = [limit for (limit, *_) in found if limit is not None]
        used = numbers(folder / "memory.current") or numbers(folder / "memory.usage_in_bytes")
        if limits and used and used[0] is not None:
            yield min(limits) - used[0] + _page_cache(folder)


def _page_cache(folder: Path) -> int:
    """Bytes of files that a group keeps in memory; those of version 1 count the groups below only under `total_`."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        found = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return 0
    return sum(found.get(f"total_{name}", found.get(name, 0)) for name in ("inactive_file", "active_file"))

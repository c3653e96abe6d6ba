"""CPU cores and memory that this process may use: limits of its control groups (containers, Slurm, systemd) included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Count the CPU cores that this process may use at the same time.

    The smallest of: its affinity (`taskset`, Slurm), what Python was told (`PYTHON_CPU_COUNT`, from Python 3.13 on), and
    the CPU quota of each control group that holds it, rounded down.

    Returns:
        At least 1.
    """
    quotas = [max(1, int(quota)) for quota in _cpu_quotas()]
    return min([_process_cores(), *quotas])


def available_memory() -> int:
    """Measure the memory that this process could still get without swapping, in bytes.

    The smallest of: what the machine has available, and what each control group that holds this process has left. The page
    cache of a group counts as free: the kernel drops it when the group needs memory.
    """
    return min([psutil.virtual_memory().available, *(max(0, left) for left in _group_memory())])


def _process_cores() -> int:
    counted = getattr(os, "process_cpu_count", None)
    if counted is not None:
        return counted() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_quotas() -> Iterator[float]:
    """Quotas in cores, of version 2 and version 1 of control groups."""
    for folder in _groups("cpu"):
        quota, period = _numbers(folder / "cpu.max") or _numbers(
            folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
        ) or (None, None)  # fmt: skip
        if quota is not None and period and quota > 0:  # -1: no limit, in version 1
            yield quota / period


def _group_memory() -> Iterator[int]:
    """Bytes that are left in each group with a limit."""
    for folder in _groups("memory"):
        limits = [
            *(_numbers(folder / "memory.max") or ()),
            *(_numbers(folder / "memory.high") or ()),
            *(_numbers(folder / "memory.limit_in_bytes") or ()),
        ]
        used = _numbers(folder / "memory.current") or _numbers(folder / "memory.usage_in_bytes")
        limits = [limit for limit in limits if limit is not None]
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


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that hold this process, the innermost first.

    A container may see the names of the machine outside: then only the outermost folder is there, which is its own.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = CGROUPS if not controllers else CGROUPS / controllers
        if controllers and not top.is_dir():
            top = CGROUPS / controller
        folder = top / name.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _numbers(*files: Path) -> list[int | None] | None:
    """Numbers in files, None for `max`; no list where a file is missing or holds something else."""
    try:
        words = [word for file in files for word in file.read_text(encoding="ascii").split()]
        return [None if word == "max" else int(word) for word in words]
    except (OSError, ValueError):
        return None

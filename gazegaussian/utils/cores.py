"""How many CPU cores this process may use, and which control groups limit it (containers, Slurm, systemd)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cores(cgroup: Path | None = None) -> int:
    """Count the cores that this process may use at the same time, not those of the machine.

    Args:
        cgroup: Where the kernel shows control groups; None: `CGROUPS`.

    Returns:
        The smallest of: the affinity mask (`taskset`, Slurm), what Python was told (`PYTHON_CPU_COUNT`, from Python 3.13 on), and
        the CPU quota of each control group that holds this process (version 2 or 1), rounded down; at least 1.
    """
    quotas = [max(1, int(quota)) for quota in _quotas(CGROUPS if cgroup is None else cgroup)]
    return min([_process_cores(), *quotas])


def _process_cores() -> int:
    counted = getattr(os, "process_cpu_count", None)
    if counted is not None:
        return counted() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def _quotas(cgroup: Path) -> Iterator[float]:
    """CPU time per time that each group may use; groups without a limit are left out."""
    for folder in control_groups("cpu", cgroup):
        values = numbers(folder / "cpu.max") or numbers(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        quota, period = values or (None, None)
        if quota is not None and quota > 0 and period:  # version 1 writes -1 where there is no limit
            yield quota / period


def control_groups(controller: str, cgroup: Path | None = None) -> Iterator[Path]:
    """Folders of the control groups that hold this process, the innermost first.

    A container may see the names of the machine outside: then only the outermost folder is there, which is its own.

    Args:
        controller: `cpu` or `memory`.
        cgroup: Where the kernel shows control groups; None: `CGROUPS`.
    """
    cgroup = CGROUPS if cgroup is None else cgroup
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS, Windows
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        named = cgroup / controllers  # version 2 has no names and lies at the top
        top = named if named.is_dir() else cgroup / controller
        folder = top / name.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def numbers(*files: Path) -> list[int | None] | None:
    """Numbers in files of a control group, None for `max`; no list where a file is missing or holds something else."""
    try:
        entries = [word for file in files for word in file.read_text(encoding="ascii").split()]
        return [None if word == "max" else int(word) for word in entries]
    except (OSError, ValueError):
        return None

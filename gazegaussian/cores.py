"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Count the cores that this process may use, not those of the machine.

    Args:
        cgroup: Where the kernel shows the limits of a container.

    Returns:
        The cores of the affinity mask, fewer where a container's quota (cgroup v2 or v1) allows fewer; at least 1.
    """
    # macOS and Windows have no affinity to ask for.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, cores if quota is None else min(cores, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """CPU time per time that a container may use; None without a limit."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return float(quota) / float(period)
    with suppress(OSError, ValueError):
        allowed = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        return allowed / int((cgroup / "cpu" / "cpu.cfs_period_us").read_text()) if allowed > 0 else None
    return None

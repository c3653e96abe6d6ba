"""Medians of interleaved calls, the machine's name, and tables for people or programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def interleaved(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median milliseconds of each call; one round calls all of them, so that other work on the machine slows all.

    With one CPU thread it is the processor's time, which waiting for a shared core does not add to; else the clock's.
    """
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = clock()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:  # the first warms up
                times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_gigabytes(call: Callable[[], object], device: str) -> float | None:
    """Peak of the device memory that one call holds, GB; not known on the CPU."""
    if device != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e9


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} CPU threads{load}"


def show(rows: Sequence[dict[str, Any]], device: str, as_json: bool) -> None:
    """Print measurements: one JSON object, or a table per `table` name with the machine above.

    Args:
        rows: Measurements; `table` groups them, the other keys are columns.
        device: What they were measured on.
        as_json: For programs.
    """
    if as_json:
        print(json.dumps({"machine": machine(device), "torch": torch.__version__, "rows": list(rows)}, indent=1))
        return
    print(f"{machine(device)}; torch {torch.__version__}")
    for table in dict.fromkeys(row["table"] for row in rows):
        lines = [row for row in rows if row["table"] == table]
        columns = [key for key in lines[0] if key != "table"]
        cells = [columns, *([_cell(line.get(key)) for key in columns] for line in lines)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        print(f"\n{table}")
        for first, *others in cells:
            numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
            print("  ".join([first.ljust(widths[0]), *numbers]))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)

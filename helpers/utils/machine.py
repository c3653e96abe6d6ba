"""What the machine has: versions, GPUs, memory, disk."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from helpers.utils.paths import existing_folder
from helpers.utils.runtime import installed_versions, is_in_notebook, runtime_name
from helpers.utils.tables import display_forms

# JupyterLab shows a figure's PNG in its own size until the pointer is over it: wider than a narrow cell.
PICTURES_FIT = ".jp-RenderedPlotly .plot-img { max-width: 100%; height: auto; }"
SHOWN = ("torch", "numpy", "optuna", "plotly")
GB = 1e9


class Gpu(NamedTuple):
    """One NVIDIA device; memory in GB."""

    name: str
    used: float
    total: float


def machine_rows(folder: Path) -> dict[str, str]:
    """Describe the runtime: place, versions, GPU, memory, disk.

    Args:
        folder: Where studies land; its disk counts.
    """
    import psutil

    memory = psutil.virtual_memory()
    there = existing_folder(folder)
    disk = shutil.disk_usage(there)
    installed = installed_versions()
    versions = [f"{name} {installed.get(name, 'missing')}" for name in SHOWN]
    return {
        "runs in": runtime_name(),
        "versions": ", ".join([f"Python {sys.version.split()[0]}", *versions]),
        "GPU": _gpu_text(installed.get("torch", "")),
        "memory": f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free",
        "disk": f"{disk.free / GB:.1f} of {disk.total / GB:.1f} GB free at {there}",
    }


def gpus() -> list[Gpu]:
    """Ask the driver for its devices; torch would take memory for itself to answer."""
    command = ["nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
        rows = [line.rsplit(",", 2) for line in lines if line.strip()]
        return [Gpu(name.strip(), *(float(mib) * 2**20 / GB for mib in sizes)) for name, *sizes in rows]
    except (OSError, subprocess.SubprocessError, ValueError):  # no driver, or one that does not answer in numbers
        return []


def _gpu_text(torch_version: str) -> str:
    devices = gpus()
    if not devices:
        return f"none: trainings run on the CPU ({os.cpu_count()} cores)"
    shown = "; ".join(f"{gpu.name}, {gpu.total - gpu.used:.1f} of {gpu.total:.1f} GB free" for gpu in devices)
    if not torch_version or importlib.import_module("torch").cuda.is_available():
        return shown
    return f"{shown}; torch {torch_version} cannot use it"


def show_machine(folder: Path) -> None:
    """Show the rows of `machine_rows`, as a table in a notebook."""
    rows = machine_rows(folder)
    if not is_in_notebook():
        for name, value in rows.items():
            sys.stdout.write(f"{name}: {value}\n")
        return
    import pandas as pd

    page = pd.DataFrame({"": list(rows.values())}, index=list(rows)).style.hide(axis="columns").to_html()
    text = "\n".join(f"{name}: {value}" for name, value in rows.items())
    display_forms({"text/html": f"<style>{PICTURES_FIT}</style>{page}", "text/plain": text})

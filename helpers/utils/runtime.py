"""Readies a notebook's runtime: Colab, JupyterLab, VS Code or plain Python; running it again changes nothing.

The notebooks run this file by its path before anything is installed, so at its top it imports the standard library alone.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DRIVE = Path("/content/drive")
UI_POLL = "jupyter-ui-poll>=1.1"  # brings clicks to a busy cell where the kernel itself does not
UNTOUCHED = ("torch", "numpy")  # preinstalled to fit the runtime's GPU driver and each other
SHOWN = ("torch", "numpy", "optuna", "plotly")
GB = 1e9


class Gpu(NamedTuple):
    """One NVIDIA device; memory in GB."""

    name: str
    used: float
    total: float


def set_up(drive: bool = False, root: Path = ROOT) -> Path:
    """Install what is missing, mount Drive when asked, and show what the runtime has.

    Args:
        drive: Keep studies on Google Drive; without Drive they stay on this machine, and a sentence says so.
        root: Of the repository, which becomes the working directory.

    Returns:
        Folder where studies land.

    Raises:
        RuntimeError: The packages cannot be installed, or that would have replaced torch or numpy.
    """
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    install(root / "requirements.txt", *(() if kernel_passes_clicks() else (UI_POLL,)))
    folder = study_folder(drive)
    _show_table(machine_rows(folder))
    return folder


def place() -> str:
    """Name where the notebook runs: `Colab`, `Colab from VS Code`, `VS Code`, `Jupyter` or `Python`."""
    if _has_colab():
        return "Colab" if "COLAB_NOTEBOOK_ID" in os.environ else "Colab from VS Code"
    shell = _shell()
    if shell is None:
        return "Python"
    return "VS Code" if "VSCODE_PID" in os.environ or "__vsc_ipynb_file__" in shell.user_ns else "Jupyter"


def has_front_end() -> bool:
    """Tell whether a user may be watching: a notebook that a program executes has no one to press a button."""
    return place() in ("Colab", "Colab from VS Code", "VS Code") or "JPY_SESSION_NAME" in os.environ


def kernel_passes_clicks() -> bool:
    """Tell whether clicks reach a cell that runs and awaits (ipykernel 7.4); True where there is nothing to click."""
    dispatch = getattr(getattr(_shell(), "kernel", None), "dispatch_shell", None)
    return dispatch is None or "concurrent" in inspect.signature(dispatch).parameters


def missing(requirements: Path, *more: str) -> list[str]:
    """Requirements, of a file and others, that are not installed in the asked version; those for other platforms are left out."""
    from packaging.requirements import Requirement  # every notebook kernel brings it

    lacking = []
    for line in (*requirements.read_text(encoding="utf-8").splitlines(), *more):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            fits = wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
        except metadata.PackageNotFoundError:
            fits = False
        if not fits:
            lacking.append(text)
    return lacking


def install(requirements: Path, *more: str) -> list[str]:
    """Install the missing requirements of a file and others, and only those, around the present torch and numpy.

    Returns:
        What was missing.

    Raises:
        RuntimeError: pip fails; or torch or numpy are not what they were.
    """
    lacking = missing(requirements, *more)
    if not lacking:
        return []
    before = _versions()
    _say(f"Installing {len(lacking)} packages: {', '.join(lacking)}")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={before[name]}\n" for name in UNTOUCHED if name in before))
        words = ["install", "-q", "--disable-pip-version-check", "--constraint", str(constraints), *lacking]
        done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        why = next(iter([*reversed(done.stderr.strip().splitlines())]), f"exit code {done.returncode}")
        raise RuntimeError(f"pip cannot install {', '.join(lacking)}: {why}")
    importlib.invalidate_caches()
    now = _versions()
    for name in UNTOUCHED:
        if name in before and now.get(name) != before[name]:
            raise RuntimeError(
                f"{name} was {before[name]} and is {now.get(name, 'gone')} now, which may not fit this runtime: "
                f"restart it and install {name}=={before[name]} again."
            )
    stale = sorted(name for name in before if now.get(name) != before[name] and _is_loaded(name))
    if stale:
        _say(f"Restart the runtime and run all cells again: {', '.join(stale)} was in use and has been replaced.")
    return lacking


def study_folder(drive: bool) -> Path:
    """Folder for studies: on Drive when that is asked for and possible."""
    local = Path("optuna_results")
    if not drive:
        return local
    stays = f"studies land in {local.resolve()}"
    if not _has_colab():
        _say(f"Google Drive can be mounted in Colab only: {stays}.")
        return local
    folder = DRIVE / "MyDrive" / "gazegaussian_studies"
    try:
        if not folder.parent.is_dir():
            importlib.import_module("google.colab.drive").mount(str(DRIVE))
        folder.mkdir(exist_ok=True)
    except Exception as error:  # Colab's own errors differ from front end to front end
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        _say(f"Google Drive could not be mounted ({why}): {stays}, which this runtime deletes when it ends.")
        return local
    _say(f"Studies land on Google Drive, in {folder}: they outlive this runtime.")
    return folder


def machine_rows(folder: Path) -> dict[str, str]:
    """Describe the runtime: place, versions, GPU, memory, disk.

    Args:
        folder: Where studies land; its disk counts.
    """
    import psutil

    memory = psutil.virtual_memory()
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    disk = shutil.disk_usage(there)
    installed = _versions()
    versions = [f"{name} {installed.get(name, 'missing')}" for name in SHOWN]
    return {
        "runs in": place(),
        "versions": ", ".join([f"Python {sys.version.split()[0]}", *versions]),
        "GPU": _gpu_text(installed.get("torch", "")),
        "memory": f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free",
        "disk": f"{disk.free / GB:.1f} of {disk.total / GB:.1f} GB free at {there}",
    }


def gpus() -> list[Gpu]:
    """Ask the driver for its devices; torch would take memory for itself to answer."""
    words = ["nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
        rows = [line.rsplit(",", 2) for line in lines if line.strip()]
        return [Gpu(name.strip(), *(float(mib) * 2**20 / GB for mib in sizes)) for name, *sizes in rows]
    except (OSError, subprocess.SubprocessError, ValueError):  # no driver, or one that does not answer in numbers
        return []


def _gpu_text(torch_version: str) -> str:
    found = gpus()
    if not found:
        return f"none: trainings run on the CPU ({os.cpu_count()} cores)"
    shown = "; ".join(f"{gpu.name}, {gpu.total - gpu.used:.1f} of {gpu.total:.1f} GB free" for gpu in found)
    if not torch_version or importlib.import_module("torch").cuda.is_available():
        return shown
    return f"{shown}; torch {torch_version} cannot use it"


def is_colab_runtime() -> bool:
    """Tell whether this is Colab itself: its package and its environment, which no folder of that name brings."""
    return _has_colab() and any(name.startswith("COLAB_") for name in os.environ)


def _has_colab() -> bool:
    try:
        found = find_spec("google.colab")
    except (ImportError, ValueError):  # no package `google` at all
        return False
    # A folder `google/colab` beside a notebook is found, too, and is no runtime.
    places = () if found is None else found.submodule_search_locations or ()
    return any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places)


def _shell() -> Any:
    """The notebook's IPython shell; None in a plain interpreter."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _versions() -> dict[str, str]:
    """Versions of all installed packages, by their names in lower case."""
    return {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}


def _is_loaded(name: str) -> bool:
    """Tell whether a module of an installed package is in use."""
    modules = metadata.packages_distributions().items()
    return any(top in sys.modules for top, owners in modules if name in map(str.lower, owners))


def _show_table(rows: dict[str, str]) -> None:
    if _shell() is None:
        for name, value in rows.items():
            _say(f"{name}: {value}")
        return
    import pandas as pd
    from IPython.display import display

    display(pd.DataFrame({"": list(rows.values())}, index=list(rows)).style.hide(axis="columns"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")

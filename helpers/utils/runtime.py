"""Readies a notebook's runtime: Colab, Kaggle, JupyterLab, VS Code or plain Python; running it again changes nothing.

The notebooks run this file by its path before anything is installed, so at its top it imports the standard library alone.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DRIVE = Path("/content/drive")
DECLINED = "GAZEGAUSSIAN_DRIVE_DECLINED"  # set once Drive was asked for in vain, so that it is asked for once
UI_POLL = "jupyter-ui-poll>=1.1"  # brings clicks to a busy cell where the kernel itself does not
UNTOUCHED = ("torch", "numpy")  # preinstalled to fit the runtime's GPU driver and each other


def set_up(drive: bool | None = None, root: Path = ROOT) -> Path:
    """Install what is missing, mount Drive, and show what the runtime has.

    Args:
        drive: Keep studies on Google Drive. None: in Colab in a browser, where it is asked for once. Without Drive they stay
            on this machine, and a sentence says so.
        root: Of the repository, which becomes the working directory.

    Returns:
        Folder where studies land.

    Raises:
        RuntimeError: The packages cannot be installed, or that would have replaced torch or numpy.
    """
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    install(root / "requirements.txt")
    if not kernel_passes_clicks():
        # Without its requirement ipython, which every notebook has: that would bring jedi, which Colab leaves out.
        install_missing([UI_POLL], "--no-deps")
    folder = study_folder(drive)
    importlib.import_module("helpers.utils.machine").show_machine(folder)
    return folder


def runtime_name() -> str:
    """Name where the notebook runs: `Colab`, `Colab from VS Code`, `Kaggle`, `VS Code`, `Jupyter` or `Python`."""
    shell = _shell()
    in_vs_code = "VSCODE_PID" in os.environ or (shell is not None and "__vsc_ipynb_file__" in shell.user_ns)
    if _is_kaggle():
        return "Kaggle"
    if _has_colab():
        return "Colab" if "COLAB_NOTEBOOK_ID" in os.environ and not in_vs_code else "Colab from VS Code"
    if shell is None:
        return "Python"
    return "VS Code" if in_vs_code else "Jupyter"


def has_front_end() -> bool:
    """Tell whether a user may be looking; a notebook that a program executes has none to press a button."""
    here = runtime_name()
    if here == "Kaggle":
        return os.environ.get("KAGGLE_KERNEL_RUN_TYPE") != "Batch"
    return here in ("Colab", "Colab from VS Code", "VS Code") or "JPY_SESSION_NAME" in os.environ


def loads_scripts_per_output() -> bool:
    """Tell whether the front end shows every output as a page of its own, which has to load the scripts that it needs."""
    return runtime_name() in ("Colab", "Kaggle")


def clicks_reach_running_cell() -> bool:
    """Tell whether a button works while a cell runs: VS Code keeps clicks back until the cell has ended."""
    if runtime_name() in ("VS Code", "Colab from VS Code"):
        return False
    return kernel_passes_clicks() or find_spec("jupyter_ui_poll") is not None


def kernel_passes_clicks() -> bool:
    """Tell whether clicks reach a cell that runs and awaits (ipykernel 7.4); True where there is nothing to click."""
    dispatch = getattr(getattr(_shell(), "kernel", None), "dispatch_shell", None)
    return dispatch is None or "concurrent" in inspect.signature(dispatch).parameters


def missing(lines: Sequence[str]) -> list[str]:
    """Requirements that are not installed in the asked version; those for other platforms are left out."""
    from packaging.requirements import Requirement  # every notebook kernel brings it

    lacking = []
    for line in lines:
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


def install(requirements: Path) -> list[str]:
    """Install the missing requirements of a file; see `install_missing`."""
    return install_missing(requirements.read_text(encoding="utf-8").splitlines())


def install_missing(lines: Sequence[str], *options: str) -> list[str]:
    """Install those of some requirements that are missing, and leave every other installed package as it is.

    Where no versions fit around all of them, torch and numpy alone are kept, and a sentence names what was replaced in use.

    Args:
        lines: As in a requirements file.
        options: More of them for pip.

    Returns:
        What was missing.

    Raises:
        RuntimeError: pip fails; or torch or numpy are not what they were.
    """
    lacking = missing(lines)
    if not lacking:
        return []
    before = installed_versions()
    started = time.monotonic()
    _print(f"Installing what is missing: {', '.join(lacking)}")
    others = {name: version for name, version in before.items() if name not in {_name_of(text) for text in lacking}}
    why = _pip(lacking, others, options)
    if why is not None:
        why = _pip(lacking, {name: before[name] for name in UNTOUCHED if name in before}, options)
    if why is not None:
        raise RuntimeError(f"pip cannot install {', '.join(lacking)}: {why}")
    importlib.invalidate_caches()
    now = installed_versions()
    for name in UNTOUCHED:
        if name in before and now.get(name) != before[name]:
            raise RuntimeError(
                f"{name} was {before[name]} and is {now.get(name, 'gone')} now, which may not fit this runtime: "
                f"restart it and install {name}=={before[name]} again."
            )
    _print_changes(before, now, time.monotonic() - started)
    return lacking


def _pip(lacking: Sequence[str], kept: Mapping[str, str], options: Sequence[str]) -> str | None:
    """Run pip; returns why it failed, None when it has not.

    Args:
        lacking: Requirements.
        kept: Versions of the packages that must stay as they are, by name.
        options: More arguments for pip.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(kept.items())))
        args = ["install", "-q", "--disable-pip-version-check", "--constraint", str(constraints), *options, *lacking]
        done = subprocess.run([sys.executable, "-m", "pip", *args], capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    return next(iter([*reversed(done.stderr.strip().splitlines())]), f"exit code {done.returncode}")


def _print_changes(before: Mapping[str, str], now: Mapping[str, str], seconds: float) -> None:
    """Say what came and how large it is, and whether something in use was replaced."""
    came = [name for name in now if now[name] != before.get(name)]
    size = sum(_bytes_of(name) for name in came) / 1e6
    _print(f"Installed {len(came)} packages in {seconds:.0f} s; they take {size:.0f} MB of disk.")
    stale = sorted(name for name in before if now.get(name) != before[name] and _is_loaded(name))
    if stale:
        _print(f"Restart the runtime and run all cells again: {', '.join(stale)} was in use and has been replaced.")


def study_folder(drive: bool | None = None) -> Path:
    """Folder for studies: on Drive where that is asked for and possible; None asks for it in Colab, once."""
    local = Path("optuna_results")
    stays = f"studies land in {local.resolve()}"
    if drive is None and runtime_name() == "Colab" and DECLINED in os.environ:
        _print(
            f"Without Google Drive {stays}, which this runtime deletes when it ends; set drive=True to be asked again."
        )
        return local
    if not (runtime_name() == "Colab" if drive is None else drive):
        return local
    if not _has_colab():
        _print(f"Google Drive can be mounted in Colab only: {stays}.")
        return local
    try:
        folder = mount_drive() / "MyDrive" / "gazegaussian_studies"
        folder.mkdir(exist_ok=True)
    except Exception as error:  # Colab's own errors differ from front end to front end
        os.environ[DECLINED] = "1"
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        _print(f"Google Drive could not be mounted ({why}): {stays}, which this runtime deletes when it ends.")
        return local
    os.environ.pop(DECLINED, None)
    _print(f"Studies land on Google Drive, in {folder}: they outlive this runtime.")
    return folder


def mount_drive() -> Path:
    """Mount Google Drive where it is not, again where its mount has died; returns its folder.

    Raises:
        Exception: It cannot be mounted; the classes are Colab's.
    """
    try:
        there = (DRIVE / "MyDrive").is_dir()
        again = False
    except OSError:  # a mount whose process has gone answers nothing but errors
        there = False
        again = True
    if not there:
        # Colab's own function rejects a keyword that an older one does not know, and `again` is the rare case.
        importlib.import_module("google.colab.drive").mount(str(DRIVE), **({"force_remount": True} if again else {}))
    return DRIVE


def lost_studies_hint(out: Path) -> str:
    """What to add where a study is not there, in runtimes that share no disk with the notebook that made it."""
    if runtime_name() not in ("Colab", "Colab from VS Code", "Kaggle") or DRIVE in Path(out).resolve().parents:
        return ""
    return (
        " Each notebook has a machine of its own here: what another one left is here only when both keep studies on Google "
        "Drive (drive=True in the set-up cell)."
    )


def is_colab_runtime() -> bool:
    """Tell whether this is Colab itself: its package and its environment, which no folder of that name brings."""
    return _has_colab() and not _is_kaggle() and any(name.startswith("COLAB_") for name in os.environ)


def is_in_notebook() -> bool:
    """Tell whether an IPython shell runs this."""
    return _shell() is not None


def installed_versions() -> dict[str, str]:
    """Versions of all installed packages, by their names in lower case."""
    return {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}


def _is_kaggle() -> bool:
    """Tell whether this is Kaggle, whose image is built on Colab's and brings its package."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ or "KAGGLE_URL_BASE" in os.environ


def _has_colab() -> bool:
    try:
        spec = find_spec("google.colab")
    except (ImportError, ValueError):  # no package `google` at all
        return False
    # A folder `google/colab` beside a notebook is found, too, and is no runtime.
    locations = () if spec is None else spec.submodule_search_locations or ()
    return any({"site-packages", "dist-packages"} & set(Path(path).parts) for path in locations)


def _shell() -> Any:
    """The notebook's IPython shell; None in a plain interpreter."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _name_of(requirement: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(requirement).name.lower()


def _bytes_of(name: str) -> int:
    """Disk that an installed package takes, by its list of files."""
    files = metadata.distribution(name).files or []
    return sum(file.size or 0 for file in files)


def _is_loaded(name: str) -> bool:
    """Tell whether a module of an installed package is in use."""
    modules = metadata.packages_distributions().items()
    return any(top in sys.modules for top, owners in modules if name in map(str.lower, owners))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")

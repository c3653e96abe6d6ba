"""Paths and addresses that several rooms name."""

from __future__ import annotations

import shlex
from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.stages import find_stage
from gazegaussian.utils.configs import CONFIGS, IN_REPOSITORY

ROOT = Path(__file__).resolve().parents[2]  # of the repository, or of the installed packages
SCRIPT = ROOT / "train_gazegaussian_optuna.py"
COMMAND = f"python {SCRIPT.name}" if IN_REPOSITORY else "gazegaussian"  # as a user types it
STUDIES = CONFIGS / "studies"
STORAGE_VARIABLE = "GAZEGAUSSIAN_STORAGE"
LOOPBACK = "127.0.0.1"


def run_file(stage: str, sizes: str = "quick") -> Path:
    """Run configuration that comes with a stage: `quick`, `demo` or `full` sizes; a stage of your own may have others."""
    spec = find_stage(stage)
    return (spec.runs if spec and spec.runs else CONFIGS / "runs" / stage) / f"{sizes}.yaml"


def study_folder_of(stage: str) -> Path:
    """Folder of the study files that come with a stage."""
    spec = find_stage(stage)
    return spec.studies if spec and spec.studies else STUDIES / stage


def study_file_of(stage: str, sizes: str = "quick") -> Path:
    """Study file that comes with a stage (see `run_file`)."""
    spec = find_stage(stage)
    if spec is not None and spec.studies is None and not (STUDIES / stage).is_dir():
        raise ConfigError(f"Stage {stage!r} brings no study files: name yours with --study FILE.")
    return study_folder_of(stage) / f"{sizes}.yaml"


_KEPT = 3  # last parts of a path from elsewhere: STUDY/trial_0007/best.pt


def shown_path(path: Path | str, base: Path | None = None) -> str:
    """Name a path relative to a folder; of one that leads elsewhere only the last parts.

    Args:
        path: Relative or absolute.
        base: The folder; None: the working directory.

    >>> shown_path("/home/me/studies/mine/trial_0001/best.pt", Path("/home/me/studies/mine"))
    'trial_0001/best.pt'
    >>> shown_path("/data/people/someone/x.h5", Path("/work"))
    'people/someone/x.h5'
    """
    path = Path(path)
    base = (base or Path.cwd()).absolute()
    if not path.is_absolute():
        return str(path)
    if path.is_relative_to(base):
        return str(path.relative_to(base))
    return str(Path(*path.parts[1:][-_KEPT:]))


def existing_folder(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())


def typed_path(path: Path) -> str:
    """Write a path as it is typed in a shell of this machine: from the working directory or the home folder where it can be.

    >>> typed_path(Path("optuna_results/my study"))
    "'optuna_results/my study'"
    """
    path = path.absolute()
    if path.is_relative_to(Path.cwd()):
        return shlex.quote(str(path.relative_to(Path.cwd())))
    if path.is_relative_to(Path.home()):
        return f"~/{shlex.quote(str(path.relative_to(Path.home())))}"
    return shlex.quote(str(path))


def shown_environment(environment: dict[str, str]) -> dict[str, str]:
    """What a study ran on, its data folder named as above: earlier versions stored the whole path."""
    return {
        name: shown_path(value) if name == "data" and Path(value).is_absolute() else value
        for name, value in environment.items()
    }

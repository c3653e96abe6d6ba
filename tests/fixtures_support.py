"""Where the numerical fixtures of the published code are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

_ROOT = Path(__file__).resolve().parent
COMPACT = _ROOT / "data"


def published_fixtures() -> Path:
    """Folder of the published fixtures: $GAZEGAUSSIAN_FIXTURES, else ../shared/fixtures/published beside the checkout.

    Without them a test is skipped with a message; in CI (env CI=true) it fails.
    """
    default = _ROOT.parent.parent / "shared/fixtures/published"
    folder = Path(os.environ.get("GAZEGAUSSIAN_FIXTURES", default))
    if folder.is_dir():
        return folder
    message = f"no published fixtures at {folder}; set GAZEGAUSSIAN_FIXTURES to their folder"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(message)
    pytest.skip(message)


def edit(folder: Path, change: Callable[[h5py.File], object]) -> Path:
    """Change the subject file in place."""
    path = folder / "xgaze_subject0000.h5"
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(file: h5py.File, key: str, values: np.ndarray) -> None:
    """Store other values, of any shape and type, under a key."""
    del file[key]
    file[key] = values

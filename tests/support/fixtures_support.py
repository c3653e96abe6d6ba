"""Where the numerical fixtures of the published code are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

_ROOT = Path(__file__).resolve().parents[1]
COMPACT = _ROOT / "data"


class Compact(dict[str, Tensor]):
    """The subset of a file of fixtures that every clone has; asking for more skips the test and says so."""

    def __missing__(self, name: str) -> Tensor:
        pytest.skip(f"the compact fixtures have no {name!r}; {_HINT}")

    def whole(self) -> None:
        """Skip the test: it needs all arrays of the file."""
        pytest.skip(f"the compact fixtures have a part of this file alone; {_HINT}")


_HINT = "set GAZEGAUSSIAN_FIXTURES to the folder of the published fixtures"


def _folder() -> Path:
    return Path(os.environ.get("GAZEGAUSSIAN_FIXTURES", _ROOT.parent.parent / "shared/fixtures/published"))


def published_fixtures() -> Path:
    """Folder of the published fixtures: $GAZEGAUSSIAN_FIXTURES, else ../shared/fixtures/published beside the checkout.

    Without them a test is skipped with a message; in CI (env CI=true) it fails.
    """
    folder = _folder()
    if folder.is_dir():
        return folder
    message = f"no published fixtures at {folder}; {_HINT}"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(message)
    pytest.skip(message)


def published_arrays(name: str) -> dict[str, Tensor]:
    """Arrays of a file of the published fixtures; without those the subset in `tests/data/published`, except in CI."""
    compact = COMPACT / "published" / name
    subset = not _folder().is_dir() and compact.exists() and os.environ.get("CI", "").lower() not in ("1", "true")
    with np.load(compact if subset else published_fixtures() / name) as data:
        arrays = {key: torch.from_numpy(data[key]) for key in data.files}
    return Compact(arrays) if subset else arrays


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

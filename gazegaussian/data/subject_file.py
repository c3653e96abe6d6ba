"""Read one subject's HDF5 file, with errors that name file, key, what was expected and what was found."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gazegaussian.data.schema import KEYS, MIN_LATENT_COLUMNS, TRAINING_ONLY, Key
from gazegaussian.errors import DataError
from gazegaussian.utils.yaml_files import shorten

_MOST_COMPRESSED = 1_000  # bytes declared over bytes in the file; the published sets have 10 to 30, white images 250
_LARGEST_CHUNK = 1 << 28  # bytes, which reading a single value of it takes; usual is one image
_LARGEST_IMAGE = 8_192  # pixels
# What h5py raises beside OSError where the bytes of a file mean nothing.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)


class SubjectFile:
    """A validated subject file, opened lazily and anew in every process (HDF5 handles do not survive a fork)."""

    def __init__(self, path: Path, for_training: bool = True) -> None:
        """Open and validate.

        Args:
            path: The file.
            for_training: Also ask for the keys that the evaluation-only data sets lack.

        Raises:
            DataError: When the file is missing or damaged, lacks a key, or a key has another shape than published.
        """
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = -1
        self.keys = [key for key in KEYS if for_training or not key.training_only]
        try:
            self.count, self.size = self._validate()
        except _DAMAGE as error:
            raise DataError(f"{self.path}: expected an intact HDF5 file, found damage ({_text(error)})") from error

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def __contains__(self, key: str) -> bool:
        return key in self._open()

    def __len__(self) -> int:
        return self.count

    def close(self) -> None:
        """Close the handle if this process opened it."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def read(self, key: str, rows: int | slice) -> NDArray:
        """Read one row [...] or a slice of rows [n, ...] of a key.

        Raises:
            DataError: When the stored bytes are damaged.
        """
        try:
            return self._open()[key][rows]
        except _DAMAGE as error:
            raise DataError(
                f"{self.path}: {key}: expected readable data, found a damaged file ({_text(error)})"
            ) from error

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a key, N first."""
        return tuple(self._open()[key].shape)

    def _open(self) -> h5py.File:
        if self._file is None or self._pid != os.getpid():
            if not self.path.is_file():
                raise DataError(f"{self.path}: expected a subject file, found nothing")
            try:
                self._file = h5py.File(self.path, "r")
            except _DAMAGE as error:
                size = self.path.stat().st_size
                raise DataError(
                    f"{self.path}: expected an HDF5 file, found {size} bytes that cannot be opened, "
                    f"truncated or damaged ({_text(error)}); copy or download it again"
                ) from error
            self._pid = os.getpid()
        return self._file

    def _validate(self) -> tuple[int, int]:
        """Return the number of images and their width."""
        self._require([key for key in self.keys if key.required])
        stored = {key.name: self._dataset(key.name) for key in KEYS if self._link(key.name) is not None}
        image = tuple(stored["face_patch"].shape)
        if len(image) != 4 or image[1] != image[2] or image[3] != 3:
            raise DataError(f"{self.path}: face_patch: expected shape (N, S, S, 3), found {image}")
        if image[0] == 0:
            raise DataError(f"{self.path}: face_patch: expected at least one image, found shape {image}")
        if image[1] > _LARGEST_IMAGE:
            raise DataError(f"{self.path}: face_patch: expected at most {_LARGEST_IMAGE} px, found shape {image}")
        for key in KEYS:
            if key.name in stored:
                self._check(key, stored[key.name], image)
        self._require_stored(stored)
        columns = stored["latent_codes"].shape[1]
        if columns < MIN_LATENT_COLUMNS:
            raise DataError(
                f"{self.path}: latent_codes: expected at least {MIN_LATENT_COLUMNS} columns "
                f"(80 identity, then 64 expression), found {columns}"
            )
        return image[0], image[1]

    def _require(self, keys: Iterable[Key]) -> None:
        missing = [key.name for key in keys if self._link(key.name) is None]
        if not missing:
            return
        present = shorten(", ".join(sorted(self._open())), 400)
        text = f"{self.path}: expected the keys {', '.join(missing)}, found only {present}"
        if set(missing) <= set(TRAINING_ONLY):
            text += (
                f"; training needs {', '.join(TRAINING_ONLY)}, which the evaluation-only sets "
                "(columbia_, mpii_, gaze_capture_) lack"
            )
        raise DataError(text)

    def _link(self, key: str) -> object | None:
        """How a key is stored, without following it anywhere; None where there is no such key."""
        return self._open().get(key, getlink=True)

    def _dataset(self, key: str) -> h5py.Dataset:
        """Open the data set of a key, if its values lie in this file: links and virtual data sets may lead to any other.

        Raises:
            DataError: They do not, or it is no data set.
        """
        link = self._link(key)
        stored = self._open()[key] if isinstance(link, h5py.HardLink) else link
        if not isinstance(stored, h5py.Dataset) or stored.shape is None:
            raise DataError(f"{self.path}: {key}: expected a data set of this file, found {type(stored).__name__}")
        if stored.is_virtual or stored.external:
            raise DataError(
                f"{self.path}: {key}: expected values in this file, found a data set that reads other files"
            )
        return stored

    def _require_stored(self, stored: Mapping[str, h5py.Dataset]) -> None:
        """Reject shapes that so small a file cannot hold: to read them would take hours or all memory."""
        declared = sum(dataset.size * dataset.dtype.itemsize for dataset in stored.values())
        there = self.path.stat().st_size
        if declared > _MOST_COMPRESSED * there:
            raise DataError(
                f"{self.path}: expected values for the shapes that it declares ({declared / 1e6:.0f} MB), found a file of "
                f"{there / 1e6:.1f} MB; copy or download it again"
            )
        for key, dataset in stored.items():
            chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
            if chunk > _LARGEST_CHUNK:
                raise DataError(
                    f"{self.path}: {key}: expected chunks of at most {_LARGEST_CHUNK >> 20} MiB, found {chunk >> 20} MiB"
                )

    def _check(self, key: Key, stored: h5py.Dataset, image: tuple[int, ...]) -> None:
        named = {"H": image[1], "W": image[2], None: None}
        expected = [image[0], *(named[n] if not isinstance(n, int) else n for n in key.shape)]
        shape = tuple(stored.shape)
        fits = len(shape) == len(expected) and all(e is None or e == f for e, f in zip(expected, shape, strict=True))
        if not fits:
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            raise DataError(f"{self.path}: {key.name}: expected shape ({wanted}), found {shape}")
        good = stored.dtype == np.uint8 if key.kind == "u8" else np.issubdtype(stored.dtype, np.floating)
        if not good:
            kind = "uint8" if key.kind == "u8" else "floating point"
            raise DataError(f"{self.path}: {key.name}: expected {kind} values, found {stored.dtype}")


def _text(error: Exception) -> str:
    return shorten(str(error), 200) or type(error).__name__

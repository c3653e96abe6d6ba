"""Read one subject's HDF5 file, with errors that name file, key, what was expected and what was found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gazegaussian.data.schema import KEYS, MIN_LATENT_COLUMNS, TRAINING_ONLY, Key
from gazegaussian.errors import DataError


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
        self.count, self.size = self._validate()

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
        except (OSError, KeyError) as error:
            raise DataError(f"{self.path}: {key}: expected readable data, found a damaged file ({error})") from error

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a key, N first."""
        return tuple(self._open()[key].shape)

    def _open(self) -> h5py.File:
        if self._file is None or self._pid != os.getpid():
            if not self.path.is_file():
                raise DataError(f"{self.path}: expected a subject file, found nothing")
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                size = self.path.stat().st_size
                raise DataError(
                    f"{self.path}: expected an HDF5 file, found {size} bytes that cannot be opened, "
                    f"truncated or damaged ({error}); copy or download it again"
                ) from error
            self._pid = os.getpid()
        return self._file

    def _validate(self) -> tuple[int, int]:
        """Return the number of images and their width."""
        file = self._open()
        self._require([key for key in self.keys if key.required])
        image = tuple(file["face_patch"].shape)
        if len(image) != 4 or image[1] != image[2] or image[3] != 3:
            raise DataError(f"{self.path}: face_patch: expected shape (N, S, S, 3), found {image}")
        if image[0] == 0:
            raise DataError(f"{self.path}: face_patch: expected at least one image, found shape {image}")
        for key in self.keys:
            if key.name in file:
                self._check(key, file[key.name], image)
        columns = file["latent_codes"].shape[1]
        if columns < MIN_LATENT_COLUMNS:
            raise DataError(
                f"{self.path}: latent_codes: expected at least {MIN_LATENT_COLUMNS} columns "
                f"(80 identity, then 64 expression), found {columns}"
            )
        return image[0], image[1]

    def _require(self, keys: Iterable[Key]) -> None:
        missing = [key.name for key in keys if key.name not in self._open()]
        if not missing:
            return
        text = f"{self.path}: expected the keys {', '.join(missing)}, found only {', '.join(sorted(self._open()))}"
        if set(missing) <= set(TRAINING_ONLY):
            text += (
                f"; training needs {', '.join(TRAINING_ONLY)}, which the evaluation-only sets "
                "(columbia_, mpii_, gaze_capture_) lack"
            )
        raise DataError(text)

    def _check(self, key: Key, stored: h5py.Dataset, image: tuple[int, ...]) -> None:
        named = {"H": image[1], "W": image[2], None: None}
        expected = [image[0], *(named[n] if not isinstance(n, int) else n for n in key.shape)]
        found = tuple(stored.shape)
        fits = len(found) == len(expected) and all(e is None or e == f for e, f in zip(expected, found, strict=True))
        if not fits:
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            raise DataError(f"{self.path}: {key.name}: expected shape ({wanted}), found {found}")
        good = stored.dtype == np.uint8 if key.kind == "u8" else np.issubdtype(stored.dtype, np.floating)
        if not good:
            kind = "uint8" if key.kind == "u8" else "floating point"
            raise DataError(f"{self.path}: {key.name}: expected {kind} values, found {stored.dtype}")

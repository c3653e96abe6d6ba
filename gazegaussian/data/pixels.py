"""Work on stored pixels: which images are usable, mask erosion, resizing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazegaussian.data.schema import KEYS
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.errors import DataError

MASKS = ("head_mask", "left_eye_mask", "right_eye_mask")
_ROWS_AT_ONCE = 64


def erode(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Erode by 3x3 twice, that is by 5x5 once; nothing comes in from beyond the border. [H, W]"""
    rows, columns = mask.shape
    padded = np.pad(mask, 2, constant_values=255)
    across = np.minimum.reduce([padded[:, i : i + columns] for i in range(5)])
    return np.minimum.reduce([across[i : i + rows] for i in range(5)])


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize [C, H, W] by area."""
    import torch  # not above: whether images are usable is asked before seconds are spent on it

    resized = torch.nn.functional.interpolate(torch.from_numpy(pixels)[None].float(), size, mode="area")[0]
    return resized.round().to(torch.uint8).numpy()


@functools.lru_cache(maxsize=4096)
def _usable_rows_of(path: Path, stamp: tuple[int, int]) -> tuple[int, ...]:
    """Usable rows of a file version; remembered, as every trial of a study indexes the same files."""
    file = SubjectFile(path, for_training=False)
    rows = tuple(int(row) for row in _scan(file))
    _require_finite(file, rows)
    file.close()
    return rows


def usable_rows(file: SubjectFile) -> tuple[int, ...]:
    """Rows whose head mask is not constant and whose eye masks are not both constant."""
    status = file.path.stat()
    return _usable_rows_of(file.path.absolute(), (status.st_mtime_ns, status.st_size))


def _require_finite(file: SubjectFile, rows: Sequence[int]) -> None:
    """Reject labels that are no numbers: a training would diverge, and the reason would be hard to find.

    Of `vertice`, which is large, the data set looks at what it reads.
    """
    for key in KEYS:
        if key.kind == "float" and key.name != "vertice" and key.name in file and rows:
            values = file.read(key.name, slice(None)).reshape(len(file), -1)[list(rows)]
            bad = np.flatnonzero(~np.isfinite(values).all(1))
            if len(bad):
                raise DataError(
                    f"{file.path}: {key.name}: expected finite numbers, found others in image {rows[bad[0]]}"
                    f"{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}"
                )


def _scan(file: SubjectFile) -> NDArray[np.int64]:
    varies: dict[str, list[NDArray[np.bool_]]] = {key: [] for key in MASKS}
    for start in range(0, len(file), _ROWS_AT_ONCE):
        for key in MASKS:
            flat = file.read(key, slice(start, start + _ROWS_AT_ONCE)).reshape(-1, file.size * file.size)
            varies[key].append((flat != flat[:, :1]).any(1))
    head, left, right = (np.concatenate(varies[key]) for key in MASKS)
    return np.flatnonzero(head & (left | right))

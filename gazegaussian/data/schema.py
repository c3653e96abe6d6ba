"""The published HDF5 layout as data, and the one writer. Leading dimension N = images of one subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.errors import DataError
from gazegaussian.utils.atomic_files import atomic_file


@dataclass(frozen=True)
class Key:
    """One data set of a subject file. Shapes leave out N; None is any size, H and W are the image's."""

    name: str
    shape: tuple[int | str | None, ...]
    kind: str  # "u8" or "float"
    training_only: bool = False  # the evaluation sets (columbia_, mpii_, gaze_capture_) lack it
    required: bool = True  # the reader needs it; our writer writes all


KEYS = (
    Key("face_patch", ("H", "W", 3), "u8"),
    Key("head_mask", ("H", "W"), "u8"),
    Key("left_eye_mask", ("H", "W"), "u8"),
    Key("right_eye_mask", ("H", "W"), "u8"),
    Key("facial_landmarks", (68, 2), "float"),
    Key("facial_landmarks_3d", (68, 3), "float", training_only=True),
    Key("vertice", (None, 3), "float", training_only=True),
    Key("w2c_Rmat", (3, 3), "float"),
    Key("w2c_Tvec", (3,), "float"),
    Key("inmat", (3, 3), "float"),
    Key("pose", (6,), "float", training_only=True),
    Key("scale", (1,), "float", training_only=True),
    Key("latent_codes", (None,), "float"),
    Key("pitchyaw_head", (2,), "float"),
    Key("face_head_pose", (2,), "float", required=False),
    Key("cam_index", (1,), "u8", required=False),
)
TRAINING_ONLY = tuple(key.name for key in KEYS if key.training_only)
MIN_LATENT_COLUMNS = SHAPE_CODE_DIM


def write_subject(path: Path, arrays: Mapping[str, NDArray], attributes: Mapping[str, object] | None = None) -> None:
    """Write one subject file: float32 and uint8, one image per chunk, in one piece (temporary file, then rename).

    Args:
        path: The file to write.
        arrays: One array [N, ...] per key of `KEYS`; those marked `training_only` or not `required` may be absent.
        attributes: Attributes of the file.

    Raises:
        DataError: When a key is missing or the arrays disagree in N.
    """
    missing = [key.name for key in KEYS if key.required and key.name not in arrays and not key.training_only]
    if missing:
        raise DataError(f"Writing {path}: expected the keys of the published layout, {', '.join(missing)} not given")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise DataError(f"Writing {path}: expected one leading dimension N for all keys, got {counts}")
    with atomic_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            values = array if array.dtype == np.uint8 else np.asarray(array, np.float32)
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), compression="lzf")
        for name, value in (attributes or {}).items():
            file.attrs[name] = value

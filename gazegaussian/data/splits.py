"""Which subject is for what: `train_test_split.json`, ETH-XGaze's published lists, a fallback by counting."""

from __future__ import annotations

from pathlib import Path

from gazegaussian.errors import ConfigError, DataError
from gazegaussian.yaml_files import read_json

PREFIX = "xgaze_"
SPLIT_FILE = "train_test_split.json"
FALLBACK_EVERY = 5

_TRAIN_NUMBERS = (
    "0 3 4 5 6 7 8 9 10 13 14 15 16 18 19 21 24 26 27 28 29 30 31 32 33 35 36 38 39 40 41 43 44 45 46 48 50 51 52 55 "
    "56 57 58 59 60 61 62 63 65 66 67 69 72 73 75 76 78 79 80 81 83 84 85 88 90 92 95 98 99 100 101 102 103 104 105 "
    "106 107 108 109 111"
)
_VAL_NUMBERS = "12 22 25 47 54 74 86 94 96 97 110 116 115 113 119"

ETH_XGAZE_SPLIT: dict[str, tuple[str, ...]] = {
    "train": tuple(f"subject{int(n):04d}.h5" for n in _TRAIN_NUMBERS.split()),
    "val": tuple(f"subject{int(n):04d}.h5" for n in _VAL_NUMBERS.split()),
}


def load_split(root: Path, prefix: str = PREFIX) -> dict[str, list[str]]:
    """Read the split of a data folder.

    Args:
        root: Folder with `<prefix>subjectNNNN.h5` files and, usually, `train_test_split.json`.
        prefix: The data set's file prefix.

    Returns:
        File names without prefix by split; at least `train` and `val`. Without the JSON every fifth file is for
        validation.

    Raises:
        DataError: When the folder is missing or empty, the JSON is unusable, or a subject is in train and val.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: expected a data folder, found nothing")
    files = sorted(path.name.removeprefix(prefix) for path in root.glob(f"{prefix}*.h5"))
    if not files:
        other = sorted({path.name.split("subject")[0] for path in root.glob("*subject*.h5")})
        hint = f"; files of other prefixes are there: {', '.join(other)}" if other else ""
        raise DataError(f"{root}: expected files {prefix}subjectNNNN.h5, found none{hint}")
    if not (root / SPLIT_FILE).is_file():
        return _fallback(files)
    splits = _read(root / SPLIT_FILE)
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        raise DataError(
            f"{root / SPLIT_FILE}: expected training and validation subjects to differ, found in both: {', '.join(both)}"
        )
    return splits


def _fallback(files: list[str]) -> dict[str, list[str]]:
    held_out = files[FALLBACK_EVERY - 1 :: FALLBACK_EVERY] or files[1:][-1:]
    return {"train": [name for name in files if name not in held_out], "val": held_out}


def _read(path: Path) -> dict[str, list[str]]:
    try:
        content = read_json(path)
    except ConfigError as error:
        raise DataError(
            f"{path}: expected JSON with lists of file names, found none that can be read ({error})"
        ) from error
    if not isinstance(content, dict) or not {"train", "val"} <= content.keys():
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: expected the keys train and val, found {found}")
    for name, keys in content.items():
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise DataError(f"{path}: {name}: expected a list of file names, found {type(keys).__name__}")
        outside = [key for key in keys if Path(key).name != key or "\0" in key]
        if outside:
            raise DataError(f"{path}: {name}: expected names of files in the same folder, found {outside[0][:80]!r}")
        if len(set(keys)) != len(keys):
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise DataError(f"{path}: {name}: expected every subject once, found several times: {', '.join(twice)}")
    return content

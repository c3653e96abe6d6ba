"""Which subject is for what: `train_test_split.json`, else the published lists, else a fallback by counting."""

from __future__ import annotations

import logging
from pathlib import Path

from gazegaussian.data.published_sets import find_set, require_folder, set_of_prefix
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.yaml_files import read_json

logger = logging.getLogger(__name__)

SPLIT_FILE = "train_test_split.json"
FALLBACK_EVERY = 5


def load_split(root: Path, prefix: str | None = None) -> dict[str, list[str]]:
    """Read the split of a data folder.

    Args:
        root: Folder with `<prefix>subjectNNNN.h5` files and, usually, `train_test_split.json`.
        prefix: The data set's file prefix; None finds it by the files.

    Returns:
        File names without prefix by split; at least `train` and `val`. Without the JSON the published lists, as far as
        their files are there; where the files are not those of the lists, every fifth one is for validation (all of a
        set that is for evaluation only).

    Raises:
        DataError: When the folder is missing or empty, the JSON is unusable, or a subject is in train and val.
    """
    root = Path(root)
    prefix = find_set(root).prefix if prefix is None else prefix
    require_folder(root)
    files = sorted(path.name.removeprefix(prefix) for path in root.glob(f"{prefix}*.h5"))
    if not files:
        raise DataError(f"{root}: expected files {prefix}subjectNNNN.h5, found none")
    if not (root / SPLIT_FILE).is_file():
        return _without_file(root, prefix, files)
    splits = _read(root / SPLIT_FILE)
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        raise DataError(
            f"{root / SPLIT_FILE}: expected training and validation subjects to differ, found in both: {', '.join(both)}"
        )
    return splits


def keys_of(root: Path, split: str, prefix: str | None = None) -> list[str]:
    """File names, without prefix, of one split (see `load_split`).

    Raises:
        DataError: There is no such split.
    """
    splits = load_split(root, prefix)
    if split not in splits:
        raise DataError(f"{root}: expected one of the splits {', '.join(splits)}, found {split!r}")
    return list(splits[split])


def _without_file(root: Path, prefix: str, files: list[str]) -> dict[str, list[str]]:
    """Published lists where they name every file and hold somebody out; else count."""
    known = set_of_prefix(prefix)
    if known is not None:
        published = {name: [key for key in keys if key in files] for name, keys in known.splits.items()}
        if published["val"] and sum(map(len, published.values())) == len(files):
            return published
        if known.evaluation_only:
            return {"train": [], "val": files}
    logger.debug("%s: no %s and not the published subjects: every fifth is for validation", root, SPLIT_FILE)
    return _fallback(files)


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

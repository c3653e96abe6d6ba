"""What a folder of synthetic heads holds already: whose settings, and which people are missing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
from filelock import FileLock, Timeout

from gazegaussian.errors import DataError
from gazegaussian.utils.plain_files import open_plain, read_plain

logger = logging.getLogger(__name__)

SETTINGS_FILE = "synthetic.json"
SPLIT_FILE = "train_test_split.json"
CACHE_VARIABLE = "GAZEGAUSSIAN_CACHE"
"""Environment variable: folder of our own where test people are kept, whose data set is in a folder that a user named [data]."""
_OURS = ("synthetic_v", "unseen_v")  # how the names of folders begin that this program chose
_LOCK = ".making.lock"
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how its files begin
TAG = "synthetic"  # attribute of a subject file: the settings that it depends on


def missing_people(
    folder: Path, files: Mapping[str, str], settings: dict[str, Any], test_files: Mapping[str, str]
) -> list[str]:
    """Look for the people of a data set, so that only the missing ones are made.

    Args:
        folder: Of the data set.
        files: For each subject file to be there, the settings that it depends on, as its attribute holds them.
        settings: Of the data set, as `synthetic.json` holds them.
        test_files: The same as `files` of the test people, who may be there.

    Returns:
        Names of the files that are missing or damaged.

    Raises:
        DataError: The folder holds something else, which would be mixed with the new heads.
    """
    tags = {path.name: _tag(path) for path in sorted(folder.glob("*.h5"))}
    known = {**files, **test_files}
    strange = [
        name
        for name, stored in tags.items()
        if stored == "" or (stored is None and not _is_broken(folder, name, known))
    ]
    strange += _strange_files(folder, any(tags.values()))
    if strange:
        raise DataError(
            f"{folder}: expected synthetic heads or nothing, found {len(strange)} other files ({strange[0]}); give another "
            "folder"
        )
    stored = [json.loads(tag) for tag in sorted({tag for name, tag in tags.items() if tag and name not in test_files})]
    for tag in sorted({tag for name, tag in tags.items() if tag and name in test_files}):
        # Test people are seen by few cameras whatever the others are.
        stored.append({name: value for name, value in json.loads(tag).items() if name not in ("frames", "cameras")})
    differences = _differences(folder, settings, stored)
    if not differences and tags.keys() - known.keys():
        differences = [f"people: more than {len(files)} -> {len(files)}"]
    if differences:
        raise DataError(
            f"{folder}: expected heads of these settings or nothing, found {len(tags)} heads of others "
            f"({'; '.join(differences)}); give another folder, or delete this one"
        )
    return [name for name, tag in files.items() if tags.get(name) != tag]


def _is_broken(folder: Path, name: str, known: Mapping[str, str]) -> bool:
    """Tell whether a file that cannot be opened is a head of ours that was cut off, which is made anew."""
    try:
        with open_plain(folder / name, follow=False) as stream:
            return name in known and stream.read(len(_HDF5)) in (_HDF5, b"")
    except OSError:
        return False


def _strange_files(folder: Path, with_heads: bool) -> list[str]:
    """Name the files that are no data set's, and the lists, which are written anew, that are links or another data set's."""
    strange = [name for name in (SETTINGS_FILE, SPLIT_FILE) if (folder / name).is_symlink()]
    if strange or with_heads:
        return strange
    if (folder / SETTINGS_FILE).exists():
        try:
            ours = "generator" in (stored_settings(folder) or {})
        except DataError:
            ours = False
        return [] if ours else [SETTINGS_FILE]
    if (folder / SPLIT_FILE).exists():
        return [SPLIT_FILE]
    # Beside heads a user may keep what they like; hidden files are the lock, and those of file managers.
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".h5")


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """Read the settings of a finished folder of synthetic heads; None where there is none.

    Raises:
        DataError: The file cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(read_plain(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected the settings of synthetic heads, found none that can be read: {error}"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the settings of synthetic heads, found {type(content).__name__}")
    return content


def subject_path(root: Path, name: str) -> Path:
    """Where a subject file is: in the data folder, or, of synthetic test people, in the folder that holds them for all of a seed.

    Args:
        root: Data folder.
        name: Of the file.
    """
    path = root / name
    if path.is_file() or not (root / SETTINGS_FILE).is_file():
        return path
    made = test_folder(root, stored_settings(root) or {}) / name
    return made if made.is_file() else path


def test_folder(root: Path, settings: Mapping[str, Any]) -> Path:
    """Folder for the test people of a synthetic data set.

    A folder that a user named is theirs: what is made when it is read goes to the cache.

    Args:
        root: Folder of the data set.
        settings: Of the data set, as `synthetic.json` holds them.
    """
    if root.name.startswith(_OURS):
        return root
    parts = (f"{mark}{settings.get(name)}" for mark, name in (("v", "generator"), ("s", "size"), ("seed", "seed")))
    return Path(os.environ.get(CACHE_VARIABLE, "data")) / f"synthetic_test_{'_'.join(parts)}"


@contextmanager
def sole_maker(folder: Path) -> Iterator[None]:
    """Hold a data folder's lock while a `with` block lasts, so that two processes do not make the same heads.

    Raises:
        DataError: Something else has the name of the lock, which would be emptied.
    """
    path = folder / _LOCK
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size)):
        raise DataError(f"{path}: expected an empty lock file or nothing; move it away, or give another folder")
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("%s: waiting for another process, which makes these heads", folder)
            lock.acquire()
    except (NotImplementedError, OSError):  # a folder that knows no locks: twice the work, and the same files
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _differences(folder: Path, settings: dict[str, Any], stored: list[dict[str, Any]]) -> list[str]:
    """Name the settings that differ, as `setting: there -> here`; without subject files nothing does."""
    if not stored:
        return []
    with suppress(DataError):  # written last: without it the data set was never finished
        stored = [*stored, *filter(None, [stored_settings(folder)])]
    pairs = [
        (name, there[name], here)
        for name, here in settings.items()
        for there in stored
        if there.get(name, here) != here
    ]
    return [f"{name}: {there} -> {here}" for name, there, here in dict.fromkeys(pairs)]


def _tag(path: Path) -> str | None:
    """Settings of a subject file, empty for one that is no synthetic head, None for one that cannot be opened."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get(TAG, ""))
    except OSError:
        return None

"""Files written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from gazegaussian.utils.plain_files import special_kind

# As `atomic_path` names them, and as earlier versions named their copies.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp|\.(?:best\.pt|last\.pt|metrics\.csv)\.tmp")


def atomic_path(path: Path) -> Path:
    """Make a temporary file beside `path`, to be written and then handed to `commit_file`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    return Path(name)


def commit_file(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file to disk and give it its name: readers see the old or the new file, never half."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # temporary files are private, finished ones follow the user's umask
    os.replace(temporary, path)


def atomic_copy(source: Path, target: Path) -> None:
    """Copy a regular file whole or not at all, with its times; a link to one is not followed.

    Raises:
        OSError: It cannot be copied, or is no regular file.
    """
    kind = special_kind(source.lstat().st_mode)
    if kind is not None:
        raise OSError(f"{source} is {kind}, expected a regular file")
    temporary = atomic_path(target)
    try:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        commit_file(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Tell by its name whether a file is one of `atomic_path`, which a killed process may leave behind."""
    return _TEMPORARY.fullmatch(path.name) is not None

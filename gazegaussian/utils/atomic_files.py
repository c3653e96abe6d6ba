"""Files written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gazegaussian.utils.plain_files import special_kind

# As `atomic_file` names them, and as earlier versions named their copies.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp|\.(?:best\.pt|last\.pt|metrics\.csv)\.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: readers see the old or the new one, never half.

    Yields:
        A temporary file beside `path`; it is flushed to disk and renamed when the block ends without an error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # temporary files are private, finished ones follow the user's umask
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_copy(source: Path, target: Path) -> None:
    """Copy a regular file whole or not at all, with its times; a link to one is not followed.

    Raises:
        OSError: It cannot be copied, or is no regular file.
    """
    kind = special_kind(source.lstat().st_mode)
    if kind is not None:
        raise OSError(f"{source} is {kind}, expected a regular file")
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)


def is_temporary(path: Path) -> bool:
    """Tell by its name whether a file is one of `atomic_file`, which a killed process may leave behind."""
    return _TEMPORARY.fullmatch(path.name) is not None

"""Where stores may lie: what is refused before a file of that name is opened, by readers and by writers."""

from __future__ import annotations

from pathlib import Path

from gazegaussian.utils.plain_files import find_special
from gazegaussian.utils.yaml_files import shorten
from helpers.storage.errors import StorageError, os_problem


def require_plain(folder: Path) -> None:
    """Refuse a folder with links, named pipes or devices in it: what is written or shown there would be another's.

    Args:
        folder: Of a study or a training; it may itself be a link, and need not be there.

    Raises:
        StorageError: With the first of them.
    """
    if not folder.is_dir():
        return
    try:
        found = find_special(folder)
    except OSError as error:
        raise StorageError(f"{folder} {os_problem(error)}.") from error
    if found is not None:
        path, kind = found
        raise StorageError(
            f"{path} is {kind}: a study's folder holds files and folders alone, since what is written or shown there would "
            "be another's. Put the file itself in its place, or move it away."
        )


def require_place(path: Path, must_exist: bool) -> None:
    """Refuse a path at which no store can be.

    Args:
        path: Of a file, relative or absolute.
        must_exist: It is to be read.

    Raises:
        StorageError: A folder, no regular file, in no folder, or not there although it must be.
    """
    try:
        place = path.resolve()
        if path.is_dir():
            raise StorageError(f"{path} is a folder, where a study's store must be a file; add a file name.")
        if not place.parent.is_dir():
            raise StorageError(
                f"The folder of {path} does not exist (looked for {place.parent}); make it, or correct the path "
                "(in a URL three slashes begin a relative path, four an absolute one)."
            )
        if must_exist and not path.exists():
            raise StorageError(f"There is no study in {path}; run `study` first or name another storage.")
        if path.exists() and not path.is_file():
            raise StorageError(f"{path} is no regular file, where a study's store must be one; name another storage.")
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a name too long, links in a circle
        why = getattr(error, "strerror", None) or error
        raise StorageError(
            f"The storage {shorten(str(path), 200)} cannot be looked for ({why}); correct the path."
        ) from error

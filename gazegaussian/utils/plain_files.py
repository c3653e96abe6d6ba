"""Regular files and folders, told from links, named pipes and devices that a received folder may hold under the same names."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
LARGEST_NOTE = 20_000_000  # bytes
_MOST_ENTRIES = 1_000_000  # of a folder that is looked through


def open_plain(path: Path, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; what else has its name is rejected at once (a named pipe would wait for a writer).

    Args:
        path: The file.
        follow: Whether the path itself may be a link.

    Raises:
        OSError: It cannot be opened, or is no regular file.
        ValueError: The path holds a NUL character.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"{special_kind(mode) or 'a folder'}, no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_plain(path: Path, largest: int = LARGEST_NOTE) -> bytes:
    """Read a small regular file, such as the JSON that a command leaves for the next one.

    Args:
        path: The file.
        largest: Bytes that it may have.

    Raises:
        OSError: It cannot be read, or is no regular file.
        ValueError: It is larger, or the path holds a NUL character.
    """
    with open_plain(path) as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path} is larger than {largest / 1e6:g} MB")
    return content


def special_kind(mode: int) -> str | None:
    """Name what is neither a regular file nor a folder, by its mode; None for those two."""
    return _KINDS.get(stat.S_IFMT(mode))


def find_special(folder: Path) -> tuple[Path, str] | None:
    """Look through a folder, without following links, for what is neither a regular file nor a folder.

    Args:
        folder: An existing one; it may itself be a link.

    Returns:
        The first such entry and what it is; None where all is plain.

    Raises:
        OSError: More entries than any study leaves.
    """
    waiting = [folder]
    count = 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except PermissionError:
            continue  # nothing in it can be read or written by us
        for entry in entries:
            count += 1
            if count > _MOST_ENTRIES:
                raise OSError(errno.E2BIG, f"more than {_MOST_ENTRIES} files", str(folder))
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                kind = special_kind(entry.stat(follow_symlinks=False).st_mode)
                return Path(entry.path), kind or "no regular file"
    return None

"""What went wrong with a study's store, in one line that never shows a password."""

from __future__ import annotations

import errno
import re
import sqlite3
from urllib.parse import unquote

from gazegaussian.errors import UserError, first_line
from gazegaussian.utils.hidden_options import redacted

__all__ = ["LEFT", "StorageError", "os_problem", "redacted", "scrubbed", "sqlite_problem"]


class StorageError(UserError):
    """A study's store cannot be opened, read or written; what was stored before is still there."""


LEFT = "it was left as it is: restore a snapshot or a copy, or move it away to begin anew"
_DAMAGED = f"is damaged; {LEFT}"
_FULL = "cannot grow (disk full or quota reached); nothing stored is lost: free space and run the same command again"
_READ_ONLY = "is read-only; make the file and its folder writable, or give another storage"

_SQLITE = {
    sqlite3.SQLITE_BUSY: "is locked by another program; close it (a database viewer, a hung process) and run again",
    sqlite3.SQLITE_LOCKED: "is locked by another program; close it (a database viewer, a hung process) and run again",
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: "cannot be read or written (disk full, quota reached or drive disconnected); nothing stored "
    "is lost: repair that and run the same command again",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; its folder must exist and be writable",
}
_FULL_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE_CODES = {errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.ENODEV, errno.EHOSTDOWN}
_READ_ONLY_CODES = {errno.EACCES, errno.EPERM, errno.EROFS}


def sqlite_problem(error: BaseException | None) -> str | None:
    """Say what an SQLite error means for the user.

    Args:
        error: What the driver raised.

    Returns:
        The predicate of a sentence about the file; None for errors that are not the file's (a wrong statement).
    """
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else _SQLITE.get(code & 0xFF)  # the upper bits only refine the primary code


def os_problem(error: OSError) -> str:
    """Say what an operating-system error means for the user, as the predicate of a sentence about the file."""
    if error.errno in _FULL_CODES:
        return _FULL
    if error.errno in _READ_ONLY_CODES:
        return _READ_ONLY
    if error.errno in _GONE_CODES:
        return (
            f"has gone ({error.strerror}), as a mounted folder does (Google Drive, a network): mount it again - in Colab by "
            "the set-up cell - and run the same again; nothing stored is lost"
        )
    return f"cannot be used ({error.strerror or error})"


def scrubbed(text: BaseException | str, url: str) -> str:
    """First line of a driver's message, without the password of `url`.

    Args:
        text: Message or exception.
        url: Storage URL whose secrets must not show.
    """
    line = (first_line(text) or "no reason given").replace(url, redacted(url))
    secrets = re.findall(r"(?:://|^)[^:/@]*:(?!//)(.*)@", url) + re.findall(
        r"(?i)(?:pass|pwd|secret|token)[^=&]*=([^&]*)", url
    )
    for secret in filter(None, secrets):
        line = line.replace(secret, "***").replace(unquote(secret), "***")
    return line

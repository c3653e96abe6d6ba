"""Small files written whole or not at all, and the disk they need."""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import io
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gazegaussian.errors import ConfigError, UserError, first_line
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.plain_files import open_plain, read_plain
from gazegaussian.utils.yaml_files import dump_yaml, shorten
from helpers.utils.plain_text import csv_text

logger = logging.getLogger(__name__)


def log_output_dir(folder: Path) -> None:
    """Log where results will land when the folder is still to be made: the script may run in any folder."""
    if not folder.exists():
        logger.info("results: %s (created now; choose another folder with --out)", folder.resolve())


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Say of a result file that it cannot be used, whatever reading it in a `with` block raises.

    Raises:
        ConfigError: Names the file and what is wrong.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = shorten(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(
            f"{path} holds what this program does not write ({what}); move it away and try again."
        ) from error


def stored_json(path: Path) -> dict[str, Any] | None:
    """Read a mapping that this program wrote; None where the file is missing or holds something else."""
    try:
        content = json.loads(read_plain(path))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a binary file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write JSON atomically."""
    return write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    """Write YAML atomically."""
    return write_text(path, dump_yaml(json.loads(json.dumps(content, default=str))))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows atomically; columns in order of first appearance, text that a spreadsheet would take for a formula quoted."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(stream)
    for cells in [names, *([row.get(name, "") for name in names] for row in rows)]:
        writer.writerow([csv_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return write_text(path, stream.getvalue())


def identify(checkpoint: Path) -> dict[str, Any]:
    """Describe a checkpoint so that it can be recognised: absolute path and sha256 (None when it is gone)."""
    path = checkpoint.resolve()
    return {"path": str(path), "sha256": digest_or_none(path)}


def digest_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    stat = path.stat()
    return _digest_of(path.resolve(), stat.st_size, stat.st_mtime_ns)


def digest_or_none(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        return digest_of(path)
    except OSError:
        return None


@functools.lru_cache(maxsize=16)
def _digest_of(path: Path, size: int, changed: int) -> str:
    """Read a file once as long as it looks the same: results are written after every trial."""
    with open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# What a mount answers whose process or server has gone: Drive's after hours, a network folder's after a cut.
_GONE = {errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.ENODEV, errno.EHOSTDOWN}
_DISK = _FULL | _DENIED | _GONE

PAUSES = (1.0, 5.0, 15.0, 30.0)
"""Seconds between tries to reach a mounted folder that has gone: a notebook's cell, or the system, may mount it again."""

ResultT = TypeVar("ResultT")


# torch.save writes past Python: a full disk is a RuntimeError there.
_TORCH_WRITE_FAILED = ("inline_container", "PytorchStreamWriter", "file write failed")


class DiskError(UserError):
    """Nothing can be written; the running trial is queued again."""


def disk_problem(error: BaseException) -> str | None:
    """Say in one line what a failed write means for the user; None when the error is about something else."""
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            return f"The disk is full{where}; free some space and run the same command again to resume."
        if error.errno in _DENIED:
            return f"No permission to write{where}; make the folder writable and run the same command again."
        return (
            f"The disk cannot be read or written{where}: {error.strerror}. A mounted folder (Google Drive, a network) has "
            "gone: mount it again - in Colab by the set-up cell - and run the same command again to resume."
        )
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _TORCH_WRITE_FAILED):
        return (
            "A checkpoint could not be written, as on a full disk; free some space and run the same command again to "
            "resume."
        )
    return None


def is_gone(error: BaseException) -> bool:
    """Tell whether an error means that a mounted folder answers no more, which mounting it again may mend."""
    return isinstance(error, OSError) and error.errno in _GONE


def patiently(act: Callable[[], ResultT]) -> ResultT:
    """Do something with files, again while the mounted folder that they are in has gone; see `PAUSES`.

    Args:
        act: What to do; it may be done anew from its beginning.

    Raises:
        OSError: The last try's, or any other than that of a folder that has gone.
    """
    for pause in PAUSES:
        try:
            return act()
        except OSError as error:
            if not is_gone(error):
                raise
            logger.warning("%s; trying again in %g s", first_line(error), pause)
            time.sleep(pause)
    return act()


@contextmanager
def disk_errors() -> Iterator[None]:
    """Say in one line what the disk means that fails in a `with` block.

    Raises:
        DiskError: In place of an `OSError` of the disk; other errors stay what they are.
    """
    try:
        yield
    except OSError as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        raise DiskError(problem) from error


def require_no_file(folder: Path) -> None:
    """Reject the path of a folder that is a file, or leads through one; nothing is made.

    Raises:
        DiskError: It is, or does.
    """
    with disk_errors():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        is_folder = there.is_dir()
    if not is_folder:
        raise DiskError(f"{folder} cannot be used as a folder ({there} is a file); name another one.")


def require_writable(folder: Path) -> None:
    """Make a folder and prove that files can be made in it.

    Raises:
        DiskError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".writable_", dir=folder):
            pass
    except OSError as error:
        why = disk_problem(error) or f"{folder} cannot be used as a folder ({error.strerror}); name another one."
        raise DiskError(why) from error


def require_space(folder: Path, needed: int) -> None:
    """Reject a trial whose checkpoints do not fit on the disk.

    Args:
        folder: Existing, on the disk in question.
        needed: Bytes.

    Raises:
        DiskError: With what is needed, what is free and what to change.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"A trial needs about {needed / 1e6:.0f} MB for checkpoints in {folder}, where {free / 1e6:.0f} MB are free. "
            "Free some, set keep_best in the study file, or give another --out; the same command then resumes."
        )

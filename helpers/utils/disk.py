"""Disks that are full, read-only or broken: recognized, and checked before anything is trained."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from gazegaussian.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_DISK = _FULL | _REFUSED | {errno.EIO}

# torch.save writes past Python: a full disk is a RuntimeError there.
_TORCH_WRITE_FAILED = ("inline_container", "PytorchStreamWriter", "file write failed")


class DiskError(UserError):
    """Nothing can be written; the running trial is queued again."""


def disk_problem(error: BaseException) -> str | None:
    """Say in one line what a failed write means for the user; None when the error is about something else."""
    if isinstance(error, OSError) and error.errno in _DISK:
        place = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            return f"The disk is full{place}; free some space and run the same command again to resume."
        if error.errno in _REFUSED:
            return f"No permission to write{place}; make the folder writable and run the same command again."
        return (
            f"The disk cannot be read or written{place}: {error.strerror}; repair that and run the same command again."
        )
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _TORCH_WRITE_FAILED):
        return (
            "A checkpoint could not be written, as on a full disk; free some space and run the same command again, it "
            "to resume."
        )
    return None


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
    """Reject to begin what the disk cannot hold.

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

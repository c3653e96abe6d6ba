"""Where the SQLite file of a study folder lives: in it, or on a local disk with snapshots in it.

SQLite needs locks and flushes that Drive and other mounted folders do not give. There the study writes to a local file, and
`helpers.storage.sqlite_snapshots` copies it into the folder after every epoch, so that a lost machine costs one epoch at most.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gazegaussian.utils.plain_files import find_special
from gazegaussian.utils.yaml_files import shorten
from helpers.storage.errors import StorageError, os_problem
from helpers.storage.locks import is_mounted
from helpers.storage.sqlite_snapshots import Snapshots

LOCAL_STORE = "GAZEGAUSSIAN_LOCAL_STORE"
"""Environment variable: folder on a local disk for live databases, also where no mounted folder is recognised."""

_NAME = "study.db"


def live_database(folder: Path) -> Path:
    """Path of the SQLite file that a study in `folder` writes."""
    folder = folder.resolve()
    named = os.environ.get(LOCAL_STORE)
    if not named and not is_mounted(folder):
        return folder / _NAME
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gazegaussian" / "studies"
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(named or cache).expanduser() / f"{folder.name}-{digest}" / _NAME


def snapshots_of(folder: Path) -> Snapshots | None:
    """Snapshots that belong to a study folder; None where the database itself lives in it."""
    live = live_database(folder)
    return None if live.parent == folder.resolve() else Snapshots(live, folder.resolve())


def has_store(folder: Path) -> bool:
    """Tell whether a folder is that of an existing study, here or on a machine that saved snapshots there.

    Raises:
        StorageError: The folder does not answer.
    """
    with _answering(folder):
        copies = snapshots_of(folder)
        return live_database(folder).is_file() or (copies is not None and bool(copies.saved()))


def study_folders(out: Path) -> list[Path]:
    """Folders of the existing studies under a folder, by name.

    Raises:
        StorageError: The folder does not answer.
    """
    with _answering(out):
        return sorted(path for path in out.glob("*/") if has_store(path))


@contextmanager
def _answering(folder: Path) -> Iterator[None]:
    """Say of a folder that does not answer in a `with` block what that means."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder} {os_problem(error)}.") from error


def local_runs(folder: Path) -> Path | None:
    """Folder on a local disk in which a study's trials train; None where they train in the study's own."""
    copies = snapshots_of(folder)
    return None if copies is None else copies.live.parent / "trials"


def require_plain(folder: Path) -> None:
    """Reject a folder with links, named pipes or devices in it: what is written or shown there would be another's.

    Args:
        folder: Of a study or a training; it may itself be a link, and need not be there.

    Raises:
        StorageError: With the first of them.
    """
    try:
        if not folder.is_dir():
            return
        special = find_special(folder)
    except OSError as error:
        raise StorageError(f"{folder} {os_problem(error)}.") from error
    if special is not None:
        path, kind = special
        raise StorageError(
            f"{path} is {kind}: a study's folder holds files and folders alone, since what is written or shown there would "
            "be another's. Put the file itself in its place, or move it away."
        )


def require_location(path: Path, must_exist: bool) -> None:
    """Reject a path at which no store can be.

    Args:
        path: Of a file, relative or absolute.
        must_exist: It is to be read.

    Raises:
        StorageError: A folder, no regular file, in no folder, or not there although it must be.
    """
    try:
        target = path.resolve()
        if path.is_dir():
            raise StorageError(f"{path} is a folder, where a study's store must be a file; add a file name.")
        if not target.parent.is_dir():
            raise StorageError(
                f"The folder of {path} does not exist (looked for {target.parent}); make it, or correct the path "
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

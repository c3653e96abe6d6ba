"""Locks between processes: of one file, and of a study, so that several workers start exactly as many trials and epochs as it may have.

The study's lock depends on its store:

| store | lock |
|---|---|
| PostgreSQL | advisory lock of a transaction: holds over all machines, goes with its connection |
| SQLite, MySQL, gRPC, journal | file beside the database or in the study's folder: `flock`, or, where folders are mounted from elsewhere and may know no locks, exclusive creation |

It is taken for milliseconds, never while something trains.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import optuna
import psutil
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileOpenLock
from sqlalchemy.exc import SQLAlchemyError

from gazegaussian.utils.plain_files import special_kind
from helpers.optuna_private import store_of
from helpers.storage.errors import StorageError
from helpers.storage.retry import patiently

NAME = "study.lock"
LOCK_GRACE = 30  # seconds after which the lock of a process that was killed while it wrote is taken over
_MOUNTED = {"fuse", "nfs", "nfs4", "cifs", "smbfs", "smb3", "davfs"}
_running = threading.local()


def lock_of(path: Path) -> JournalFileOpenLock:
    """Lock of a file between processes and, where the file system is shared, machines.

    Raises:
        StorageError: Something else has the name of the lock.
    """
    require_lock(path.with_name(f"{path.name}.lock"))
    # Exclusive creation works on NFS 3+, SMB, Windows and Drive's FUSE; symbolic links do not exist on the latter.
    return JournalFileOpenLock(str(path), grace_period=LOCK_GRACE)


def require_lock(path: Path) -> None:
    """Reject a lock file that is not one of ours: locks are empty regular files, and one left by a dead process is removed.

    Raises:
        StorageError: A link, a named pipe, or a file with something in it.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    kind = None if stat.S_ISREG(status.st_mode) else special_kind(status.st_mode) or "a folder"
    if kind is None and status.st_size:
        kind = "a file with something in it"
    if kind is not None:
        raise StorageError(f"{path} is {kind}, where a lock must be an empty file: move it away and run again.")


@contextmanager
def file_lock(lock: JournalFileOpenLock) -> Iterator[None]:
    """Hold a lock; wait for it without end, since that of a dead process is taken over."""
    lock.acquire()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # taken over after LOCK_GRACE: nothing is left to give back
            lock.release()


def is_mounted(folder: Path) -> bool:
    """Tell whether a folder lies on Drive or another network file system; one that is not there yet counts by its parent."""
    folder = folder.resolve()
    depth = -1
    kind = ""
    for partition in psutil.disk_partitions(all=True):
        mount = Path(partition.mountpoint)
        if len(mount.parts) > depth and (folder == mount or mount in folder.parents):
            depth = len(mount.parts)
            kind = partition.fstype.lower()
    if "overlay" in kind:  # containers' own disk
        return False
    return kind in _MOUNTED or kind.startswith("fuse.")


@contextmanager
def study_lock(study: optuna.Study, folder: Path) -> Iterator[None]:
    """Hold the study's exclusive lock for the duration of the `with` block (re-entrant).

    Args:
        study: Which; its storage is the one that all share.
        folder: Of the study.

    Raises:
        StorageError: The server of the storage does not answer.
    """
    depths: dict[str, int] = _running.__dict__.setdefault("depths", {})
    key = f"{folder.resolve()}/{study.study_name}"
    if depths.get(key):
        yield
        return
    with _lock(study, folder):
        depths[key] = 1
        try:
            yield
        finally:
            del depths[key]


def _lock(study: optuna.Study, folder: Path) -> AbstractContextManager[object]:
    store = store_of(study)
    if isinstance(store, RDBStorage):
        dialect = store.engine.dialect.name
        if dialect == "postgresql":
            return _advisory(store.engine, study.study_name)
        if dialect == "sqlite":
            folder = Path(store.engine.url.database or folder / NAME).parent
    if is_mounted(folder):
        return file_lock(lock_of(folder / NAME))
    require_lock(folder / NAME)
    return FileLock(folder / NAME, poll_interval=0.01)


@contextmanager
def _advisory(engine: sqlalchemy.Engine, name: str) -> Iterator[None]:
    connection = patiently(lambda again: _hold(engine, name))
    try:
        yield
    finally:
        # Nothing was written through this connection; one that broke meanwhile has lost the lock already.
        with suppress(SQLAlchemyError, StorageError):
            connection.rollback()
        connection.close()


def _hold(engine: sqlalchemy.Engine, name: str) -> sqlalchemy.Connection:
    connection = engine.connect()
    try:
        query = sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(query, {"name": f"gazegaussian study {name}"})
    except BaseException:
        connection.close()
        raise
    return connection

"""One lock per study, so that several workers begin exactly as many trials and epochs as the study may have.

| store | lock |
|---|---|
| PostgreSQL | advisory lock of a transaction: holds over all machines, goes with its connection |
| SQLite, MySQL, gRPC, journal | file beside the database or in the study's folder: `flock`, or, where folders are mounted from elsewhere and may know no locks, exclusive creation |

It is held for milliseconds, never while something trains.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from helpers.optuna_private import store_of
from helpers.storage.errors import StorageError
from helpers.storage.journal import file_lock, lock_of, require_lock
from helpers.storage.location import is_mounted, live_database
from helpers.storage.retry import patiently

NAME = "study.lock"
_running = threading.local()


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
            file = store.engine.url.database
            folder = Path(file).parent if file else live_database(folder).parent
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
        asked = sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(asked, {"name": f"gazegaussian study {name}"})
    except BaseException:
        connection.close()
        raise
    return connection

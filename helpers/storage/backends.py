"""Opens what a study is stored in, whatever the URL says, and makes its errors readable.

| given | store |
|---|---|
| nothing | SQLite file `study.db` in the study's folder; on Drive or a network a local one with snapshots there |
| `sqlite:///study.db`, `sqlite:////abs/study.db` | SQLite file on a local disk |
| `study.journal`, `study.log`, `journal:///study.journal` | journal file, for network folders; slashes as for SQLite |
| `postgresql+psycopg://user:password@host/db` | PostgreSQL |
| `mysql+pymysql://user:password@host/db` | MySQL |
| `grpc://host:port` | Optuna's gRPC proxy |

Reading (`must_exist`) never writes, repairs, creates or deletes anything, whatever the file holds.

SQLite keeps its rollback journal: with WAL the newest trials live in a second file that a copied folder may lack, and its
shared memory does not work on network mounts; writers of trials of minutes gain nothing from it.
"""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage
from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import shorten
from helpers.optuna_private import TABLES
from helpers.storage import sqlite_snapshots as snapshots
from helpers.storage.errors import LEFT, StorageError, redacted, scrubbed, sqlite_problem
from helpers.storage.journal import Journal, JournalReader
from helpers.storage.location import live_database, require_location, require_plain, snapshots_of
from helpers.storage.retry import Database, Unreachable
from helpers.storage.sqlite_files import (
    problem_of,
    reading_connection,
    require_own_sidecars,
    require_study_tables,
)

ANSWER_SECONDS = 10  # how long a server may take to answer at all
JOURNAL_SUFFIXES = (".journal", ".log")
_KINDS = (
    "nothing (SQLite in the study's folder), sqlite:///FILE, FILE.journal, postgresql+psycopg://, mysql+pymysql:// or "
    "grpc://HOST:PORT"
)
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_PIP = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "mysqldb": "mysqlclient"}
_CREATION_ATTEMPTS = 8


def open_storage(url: str | None, folder: Path, must_exist: bool = False) -> BaseStorage:
    """Open the store of a study.

    Args:
        url: Where (see the module's table); None for SQLite in `folder`, which is made when absent.
        folder: The study's folder.
        must_exist: Only read: nothing is made, changed or removed, and what is asked to write raises `StorageError`.

    Returns:
        What `optuna.create_study` and `load_study` take as `storage`; later failures raise `StorageError` too.

    Raises:
        ConfigError: The URL is of no known kind or its driver is not installed.
        StorageError: Locked, damaged, unreachable, of another program, or not there; or `folder` holds links.
    """
    require_plain(folder)
    if url is not None:
        return open_url(url, must_exist)
    if must_exist:
        return _read_own_store(folder)
    _make_folder(folder)
    copies = snapshots_of(folder)
    if copies is not None:
        copies.restore()
    path = live_database(folder)
    return _open_sqlite(f"sqlite:///{path}", path)


def open_url(url: str, must_exist: bool = False) -> BaseStorage:
    """Open a store by its URL (see `open_storage`)."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "journal" or (not scheme and url.endswith(JOURNAL_SUFFIXES)):
        return _open_journal(Path(url.removeprefix("journal://").removeprefix("/") if scheme else url), must_exist)
    dialect = scheme.partition("+")[0]
    if dialect == "sqlite":
        parsed = _parse(url)
        if parsed.database in (None, "", ":memory:") or "uri" in parsed.query:
            raise ConfigError(f"Storage {url!r} names no file, so that the study would be lost; give sqlite:///FILE.")
        path = Path(str(parsed.database))
        require_location(path, must_exist)
        return _read_sqlite(lambda: (path, False), path) if must_exist else _open_sqlite(url, path)
    if dialect in _DRIVERS:
        return _open_server(_DRIVERS.get(scheme, scheme) + url[len(scheme) :], must_exist)
    if scheme == "grpc":
        return _open_proxy(url)
    raise ConfigError(f"Unknown storage {redacted(url)!r}: give {_KINDS}.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The study's folder {folder} cannot be made ({error.strerror}).") from error


def _open_journal(path: Path, must_exist: bool) -> BaseStorage:
    path = path.expanduser()
    require_location(path, must_exist)
    try:
        return JournalStorage(JournalReader(path) if must_exist else Journal(path))
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = shorten(f"{type(error).__name__}: {error}", 200)
        raise StorageError(f"The journal {path} holds records that no study writes ({reason}); {LEFT}.") from error


def _open_sqlite(url: str, path: Path) -> BaseStorage:
    require_own_sidecars(path)
    if path.is_file():
        _require_whole(path, reading=False)
        with closing(reading_connection(path, busy_seconds=snapshots.BUSY_SECONDS)) as connection:
            require_study_tables(connection, path, reading=False)
    return _open_rdb(url, f"The database {path}", {"connect_args": {"timeout": snapshots.BUSY_SECONDS}})


def _read_own_store(folder: Path) -> BaseStorage:
    """Open the SQLite file that belongs to a folder, or its newest snapshot, for reading."""

    def chosen() -> tuple[Path, bool]:
        copies = snapshots_of(folder)  # looked up at every look: a newer snapshot is another file
        return (live_database(folder), False) if copies is None else copies.readable() or (copies.live, False)

    path, resting = chosen()
    require_location(path, must_exist=True)
    return _read_sqlite(chosen, path, resting)


def _read_sqlite(choose: Callable[[], tuple[Path, bool]], path: Path, resting: bool = False) -> BaseStorage:
    """Open an SQLite file that is never written.

    Args:
        choose: Gives the file and whether it is a snapshot, at every look.
        path: What it gives now.
        resting: The same.
    """
    _require_whole(path, reading=True, resting=resting)
    try:
        with closing(reading_connection(path, resting)) as connection:
            require_study_tables(connection, path, reading=True)
    except sqlite3.Error as error:
        raise StorageError(f"The database {path} {problem_of(error)}.") from error
    # A connection per look: restored databases and newer snapshots are other files.
    options = {"creator": lambda: reading_connection(*choose()), "poolclass": NullPool}
    storage = _open_rdb("sqlite://", f"The database {path}", options, reading=True)
    storage.url = f"sqlite:///{path}"  # named where its content means nothing
    return storage


def _require_whole(path: Path, reading: bool, resting: bool = False) -> None:
    broken = snapshots.damage(path, resting=resting, reading=reading)
    if broken is not None:
        raise StorageError(f"The database {path} is damaged ({broken}); {LEFT}.")


def _open_server(url: str, must_exist: bool) -> BaseStorage:
    parsed = _parse(url)
    driver = parsed.get_driver_name()
    try:
        parsed.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise ConfigError(
            f"Storage {redacted(url)!r}: {driver!r} is no driver of {parsed.get_backend_name()}."
        ) from None
    except ImportError as error:
        raise ConfigError(
            f"Storage {redacted(url)!r} needs the driver {driver}, which is not installed: "
            f"pip install '{_PIP.get(driver, driver)}'"
        ) from error
    # One connection per worker, checked before use: servers close the idle ones during long epochs.
    options: dict[str, Any] = {"pool_size": 1, "pool_pre_ping": True}
    options["connect_args"] = {"connect_timeout": ANSWER_SECONDS}
    store = f"The database {redacted(url)}"
    if must_exist:
        _require_server_tables(url, store, options)
    return _open_rdb(url, store, options, reading=must_exist)


def _require_server_tables(url: str, store: str, options: dict[str, Any]) -> None:
    """Reject to read a server's database without studies: Optuna would make its tables there.

    Raises:
        StorageError: It holds none, or cannot be reached.
    """
    try:
        engine = sqlalchemy.create_engine(url, **options)
        try:
            there = set(sqlalchemy.inspect(engine).get_table_names())
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        reason = scrubbed(getattr(error, "orig", None) or error, url)
        raise StorageError(f"{store} cannot be opened: {reason}.") from None  # the chain may show the password
    lacking = sorted((TABLES.keys() | {"alembic_version"}) - there)
    if lacking:
        what = "no study yet" if len(lacking) > len(TABLES) else f"no table {lacking[0]}: it is of another Optuna"
        raise StorageError(f"{store} holds {what}; run `study` first or name another storage.")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):  # the rest of a password: drivers would print it as the host
            raise ValueError
        return parsed
    except (ArgumentError, ValueError):  # its text may hold a part of the password
        raise ConfigError(
            f"Storage {redacted(url)!r} cannot be read as a URL; percent-encode the special characters of its password."
        ) from None


def _open_rdb(url: str, store: str, options: dict[str, Any], reading: bool = False) -> Database:
    """Open a relational database and translate its later failures at their source.

    Args:
        url: SQLAlchemy URL.
        store: What messages call it; holds no password.
        options: For `create_engine`.
        reading: Make no tables.
    """
    more: dict[str, Any] = {"skip_table_creation": True} if reading else {}
    for attempt in range(_CREATION_ATTEMPTS):
        try:
            # Optuna formats the URL as a template: braces of a path or password must be doubled.
            storage = Database(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=dict(options), **more)
            break
        except SQLAlchemyError as error:
            # Two processes that begin a study together both try to make its tables.
            twin = isinstance(error, IntegrityError) or "already exists" in str(error).lower()
            if twin and attempt + 1 < _CREATION_ATTEMPTS:
                time.sleep(0.05 * (attempt + 1))
                continue
            problem = sqlite_problem(getattr(error, "orig", None))
            problem = problem or f"cannot be opened: {scrubbed(getattr(error, 'orig', None) or error, url)}"
            raise StorageError(f"{store} {problem}.") from None  # the chain may show the password
        except RuntimeError as error:  # tables of another version of Optuna
            raise StorageError(f"{store} cannot be opened: {scrubbed(error, url)}") from None

    def translate(context: ExceptionContext) -> None:
        if not isinstance(context.original_exception, Exception):  # Ctrl-C in a statement stays what it is
            return
        problem = sqlite_problem(context.original_exception)
        # Other errors of a server stay as they are: Optuna itself retries deadlocks.
        if problem is None and (context.is_disconnect or context.connection is None) and not context.is_pre_ping:
            reason = scrubbed(context.original_exception, url)
            raise Unreachable(
                f"{store} does not answer: {reason}. Is its server running, and the URL right?"
            ) from context.original_exception
        if problem is not None:
            raise StorageError(f"{store} {problem}.") from context.original_exception

    event.listen(storage.engine, "handle_error", translate)
    return storage


def _open_proxy(url: str) -> BaseStorage:
    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not host or "@" in host or not port.isdecimal():
        raise ConfigError(f"Storage {redacted(url)!r} must be grpc://HOST:PORT, for example grpc://localhost:13000.")
    try:
        import grpc  # noqa: F401  optional

        from helpers.storage.grpc_proxy import Proxy
    except ImportError as error:
        raise ConfigError(
            f"Storage {redacted(url)!r} needs gRPC, which is not installed: pip install grpcio protobuf"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = Proxy(host=host, port=int(port))
    try:
        storage.wait_server_ready(timeout=ANSWER_SECONDS)
    except ConnectionError as error:
        storage.close()
        raise StorageError(
            f"No gRPC storage proxy answers at {host}:{port} within {ANSWER_SECONDS} s; start it there "
            "(optuna.storages.run_grpc_proxy_server) or correct the address."
        ) from error
    return storage

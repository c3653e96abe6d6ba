"""SQLite files that may come from elsewhere: what lies beside them, what is in them, and how they are read without a write.

SQLite trusts its files. A rollback journal may name another file, which is deleted when a writer opens the database; views and
triggers run when tables are read or written; a database in WAL mode gets files beside it when it is only read.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path

from gazegaussian.utils.plain_files import open_plain, special_kind
from helpers.optuna_private import TABLES
from helpers.storage.errors import LEFT, StorageError, sqlite_problem

SIDECARS = ("-journal", "-wal", "-shm")
BUSY_SECONDS = 5.0  # that a reader waits; a writer holds its lock for milliseconds
CPU_SECONDS = 8.0  # that a look may take: a damaged or forged file could keep SQLite busy without end
LONGEST_VALUE = 64_000_000  # bytes
LARGEST_COPY = 1 << 30  # bytes of a database that is read through a copy
_VERSION_TABLE = "alembic_version"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_WAL_VERSION = b"\x02\x02"  # bytes 18 and 19 of the header
_LOOKS = 5  # at a database whose writer is just ending, before a reader gives up
_STEPS = 100_000  # instructions of SQLite's machine between two looks at the clock
_UNFINISHED = (
    sqlite3.SQLITE_READONLY_ROLLBACK,
    sqlite3.SQLITE_READONLY_RECOVERY,
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_CANTLOCK,
)


def require_own_sidecars(path: Path) -> None:
    """Reject what lies beside a database and leads away from it, before SQLite opens either.

    Args:
        path: Of the database, which may not be there yet.

    Raises:
        StorageError: A sidecar is a link or a named pipe, or the rollback journal names another file.
    """
    path = path.resolve()
    for suffix in ("", *SIDECARS):
        beside = path.with_name(path.name + suffix)
        try:
            mode = beside.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):
            kind = special_kind(mode) or "a folder"
            raise StorageError(f"{beside} is {kind}, where SQLite keeps a file of its own; remove it and try again.")
    journal = path.with_name(f"{path.name}-journal")
    if journal.is_file() and _names_a_file(journal):
        raise StorageError(
            f"{journal} names another file, which SQLite would delete: no study writes such a journal. Remove it, or take "
            "a copy of the database from where it was made."
        )


def _names_a_file(journal: Path) -> bool:
    """Tell whether a rollback journal ends in the name of a super-journal, as transactions over several databases leave it."""
    try:
        with open_plain(journal) as stream:
            size = stream.seek(0, 2)
            if size < 16:
                return False
            stream.seek(size - 16)
            end = stream.read(16)
    except FileNotFoundError:  # its transaction has just ended
        return False
    length = int.from_bytes(end[:4], "big")
    return end[8:] == _JOURNAL_MAGIC and 0 < length <= size - 16


def reading_connection(path: Path, resting: bool = False, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open a database for reading: neither the file nor anything beside it is made, changed or removed.

    What a killed writer left unfinished is undone in a private copy, in memory.

    Args:
        path: An existing file.
        resting: No process writes it (a snapshot): it is read without the locks that its folder may not know.
        busy_seconds: How long to wait for a writer.

    Raises:
        StorageError: Something beside it leads away from it.
        sqlite3.Error: It cannot be read.
    """
    path = path.resolve()
    if resting:
        return _limited(_connect(path, "mode=ro&immutable=1", busy_seconds))
    require_own_sidecars(path)
    for _ in range(_LOOKS):
        connection = None if _is_in_wal_mode(path) else _connection_in_place(path, busy_seconds)
        if connection is not None:
            return connection
        with suppress(FileNotFoundError):  # a writer has finished or undone it meanwhile, and removed its journal
            return _limited(_finished_copy(path))
    raise StorageError(
        f"The files of the database {path} come and go while it is read; end what writes it and try again."
    )


def _connection_in_place(path: Path, busy_seconds: float) -> sqlite3.Connection | None:
    """Open a database where it lies; returns None where a killed writer left something unfinished."""
    connection = _limited(_connect(path, "mode=ro", busy_seconds))
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode not in _UNFINISHED:
            raise
    except BaseException:
        connection.close()
        raise
    return None


def _connect(path: Path, mode: str, busy_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=busy_seconds)


def _limited(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Bound what reading may cost, and keep the schema's own functions and statements from anything but reading."""
    _end_late(connection)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA query_only = ON")
    return connection


def _is_in_wal_mode(path: Path) -> bool:
    with open_plain(path) as stream:
        return stream.read(20)[18:] == _WAL_VERSION


def _finished_copy(path: Path) -> sqlite3.Connection:
    """Copy a database with its sidecars aside, let SQLite finish or undo there what was started, and read that into memory."""
    beside = [path.with_name(path.name + suffix) for suffix in ("", "-journal", "-wal")]
    there = [one for one in beside if one.is_file()]
    if sum(one.stat().st_size for one in there) > LARGEST_COPY:
        raise StorageError(
            f"The database {path} was left in the middle of a write and is too large to be read through a copy; run the "
            "study that writes it once, then read it."
        )
    memory = sqlite3.connect(":memory:")
    with tempfile.TemporaryDirectory(prefix="study_") as folder:
        for one in there:
            shutil.copyfile(one, Path(folder) / one.name)
        copy = sqlite3.connect(Path(folder) / path.name)
        with closing(copy):
            _end_late(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # WAL is nothing for a database in memory
            copy.backup(memory)
    return memory


def _end_late(connection: sqlite3.Connection) -> None:
    """Interrupt whatever a connection does once it has taken too much of this thread's time."""
    started = time.thread_time()
    connection.set_progress_handler(lambda: int(time.thread_time() - started > CPU_SECONDS), _STEPS)


def require_study_tables(connection: sqlite3.Connection, path: Path, reading: bool) -> None:
    """Reject a database that is not one of studies, or that holds what runs by itself.

    Args:
        connection: To it.
        path: Of it, for the message.
        reading: All tables must be there; a writer makes those that are missing, in a database that is empty or its own.

    Raises:
        StorageError: Of another program, of another version of Optuna, or with views and triggers.
        sqlite3.Error: It cannot be read.
    """
    rows = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    _require_inert(rows, path)
    names = {name for kind, name, _ in rows if kind == "table"}
    if names and not names & TABLES.keys():
        raise StorageError(f"The database {path} holds no study but tables of another program; name another storage.")
    if not reading:
        return
    if not names:
        raise StorageError(f"The database {path} holds no study yet; run `study` first or name another storage.")
    lacking = sorted((TABLES.keys() | {_VERSION_TABLE}) - names)
    if not lacking:
        lacking = _lacking_columns(connection)
    if not lacking and connection.execute(f"SELECT count(*) FROM {_VERSION_TABLE}").fetchone()[0] == 0:
        lacking = [f"the row of {_VERSION_TABLE}"]
    if not lacking and connection.execute("SELECT count(*) FROM version_info").fetchone()[0] == 0:
        lacking = ["the row of version_info"]
    if lacking:
        raise StorageError(
            f"The database {path} was made by another version of Optuna, or is being made now: it lacks "
            f"{', '.join(lacking[:3])}. Reading changes nothing; `optuna storage upgrade` brings an old one up to date."
        )


def _require_inert(rows: Collection[tuple[str, str, str]], path: Path) -> None:
    """Reject views, triggers, virtual tables, computed columns and indexes: what a statement on them does is up to others."""
    for kind, name, sql in rows:
        statement = " ".join(sql.upper().split())
        computed = statement.startswith("CREATE VIRTUAL") or (kind == "table" and " AS (" in statement)
        computed |= kind == "index" and (statement.count("(") > 1 or " WHERE " in statement)
        if kind in ("view", "trigger") or computed:
            what = kind if kind in ("view", "trigger") else f"computed {kind}"
            raise StorageError(f"The database {path} holds the {what} {name[:60]!r}, which no study makes; {LEFT}.")


def _lacking_columns(connection: sqlite3.Connection) -> list[str]:
    lacking = []
    for name, table in TABLES.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
        lacking += [f"{name}.{column}" for column in sorted({column.name for column in table.columns} - there)]
    return lacking


def problem_of(error: sqlite3.Error) -> str:
    """Say what reading a file met, as the predicate of a sentence about it."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        return f"keeps SQLite busy for more than {CPU_SECONDS:g} s, as no study's does; {LEFT}"
    return sqlite_problem(error) or str(error)

"""Snapshots of a local SQLite file in a folder that SQLite must not live in (Drive, network).

The study writes to a local file; after each trial a consistent copy goes to the folder under a temporary name, is flushed
and only then gets its own name, so that an interrupted save leaves the older snapshots as they were.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gazegaussian.utils.atomic_files import atomic_file
from helpers.storage.errors import StorageError, os_problem, sqlite_problem
from helpers.storage.locks import file_lock, lock_of
from helpers.storage.sqlite_files import problem_of, reading_connection, require_own_sidecars

logger = logging.getLogger(__name__)

BUSY_SECONDS = 60.0  # how long to wait for another process's write
_SIDECARS = ("", "-journal", "-wal", "-shm")
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FINISHED = "SELECT count(*) FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')"


def damage(path: Path, resting: bool = False, reading: bool = False) -> str | None:
    """Check every page of an SQLite file.

    Args:
        path: An existing file; an empty one is a database without tables, as SQLite sees it.
        resting: No process writes it (a snapshot): it is read without the locks that its folder may not know.
        reading: What a killed writer left unfinished is not undone in the file itself.

    Returns:
        What is wrong on one line, or None.

    Raises:
        StorageError: The file cannot be read now (locked, disconnected), which says nothing about its content.
    """
    try:
        opened = reading_connection(path, resting, BUSY_SECONDS) if resting or reading else _connect(path)
        with closing(opened) as connection:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:
            return str(error)
        raise StorageError(f"The database {path} {problem_of(error)}.") from error
    except OSError as error:
        raise StorageError(f"The database {path} {os_problem(error)}.") from error
    return None if verdict == "ok" else " ".join(str(verdict).split())


@dataclass(frozen=True)
class Snapshots:
    """Numbered copies of a live SQLite file.

    Args:
        live: The file that the study writes, on a local disk.
        folder: Where the copies go.
        keep: How many of them stay, at least 1.
    """

    live: Path
    folder: Path
    keep: int = 2

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, not {self.keep}")

    def saved(self) -> list[Path]:
        """Snapshots in the folder, newest first."""
        pattern = re.compile(rf"{re.escape(self.live.stem)}\.\d{{6,}}{re.escape(self.live.suffix)}")
        snapshots = [path for path in self.folder.glob("*") if pattern.fullmatch(path.name)]
        return sorted(snapshots, key=self._number, reverse=True)

    def readable(self) -> tuple[Path, bool] | None:
        """Find what a reader opens, without a write: the live file, or the newest snapshot where that went further.

        Returns:
            The file, and whether it is a snapshot; None where there is neither.
        """
        newest = next(iter(self.saved()), None)
        if newest is None:
            return (self.live, False) if self.live.is_file() else None
        if not self.live.is_file() or not self.live.stat().st_size:
            return newest, True
        try:
            behind = _finished_trials(newest, resting=True) > _finished_trials(self.live)
        except sqlite3.Error:  # whichever it is, opening it says so
            behind = False
        return (newest, True) if behind else (self.live, False)

    def save(self) -> Path | None:
        """Copy the live file into the folder and remove all but the newest `keep` snapshots.

        Returns:
            The snapshot; None, with a warning, when the folder rejects it (full, disconnected): the live file is whole
            and the study may continue.

        Raises:
            StorageError: The live file is missing, locked or damaged; older snapshots stay.
        """
        if not self.live.is_file():
            raise StorageError(f"The database {self.live} is gone; run the same command again to restore a snapshot.")
        try:
            # SQLite locks what it writes to, which such folders cannot: the copy is made beside the live file.
            work = tempfile.TemporaryDirectory(prefix=self._workplace, dir=self.live.parent)
            with file_lock(lock_of(self.live)), work as name:
                copy = Path(name) / self.live.name
                _back_up(self.live, copy)
                newest = self._number(self.saved()[0]) if self.saved() else 0
                target = self.folder / f"{self.live.stem}.{newest + 1:06d}{self.live.suffix}"
                _put(copy, target)
                for old in self.saved()[self.keep :]:
                    old.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("no snapshot of %s: %s %s", self.live, self.folder, os_problem(error))
            return None
        return target

    def restore(self) -> Path | None:
        """Put the newest valid snapshot in the place of a live file that is missing, empty, damaged or behind it.

        Call it before anything opens the live file. What is replaced is kept beside it. One machine at a time may use
        the folder; several processes on it may start together.

        Returns:
            The snapshot taken; None when the live file stays, or when there is nothing yet.

        Raises:
            StorageError: Snapshots or a damaged live file are there, but nothing valid.
        """
        try:
            self.live.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(lock_of(self.live)):  # the second of two processes must see what the first restored
                return self._restore()
        except OSError as error:
            raise StorageError(f"{self.live} cannot be restored from {self.folder}: it {os_problem(error)}.") from error

    def _restore(self) -> Path | None:
        # What saves that were killed have left; the lock says that none is under way.
        for rest in self.folder.glob(f".{self.live.stem}.*{self.live.suffix}.*.tmp"):
            rest.unlink(missing_ok=True)
        for rest in self.live.parent.glob(f"{self._workplace}*"):
            shutil.rmtree(rest, ignore_errors=True)
        snapshots = self.saved()
        newest = next((path for path in snapshots if path.stat().st_size and damage(path, resting=True) is None), None)
        fault = self._fault(newest)
        if fault is None:
            return None
        if newest is None:
            if not snapshots and not self.live.exists():
                return None  # a new study
            if not snapshots and self.live.stat().st_size == 0:
                return None  # killed between the creation of the file and of its tables
            raise StorageError(f"The database {self.live} {fault}, and {self.folder} holds no valid snapshot of it.")
        self._set_aside()
        _put(newest, self.live)
        logger.warning("%s %s: restored from %s", self.live, fault, newest)
        return newest

    @property
    def _workplace(self) -> str:
        return f".{self.live.name}.snapshot-"

    def _fault(self, newest: Path | None) -> str | None:
        """Say why the live file must not be used."""
        if not self.live.exists():
            return "is missing"
        if self.live.stat().st_size == 0:
            return "is empty"
        broken = damage(self.live)
        if broken is not None:
            return f"is damaged ({broken})"
        # The study went on elsewhere: the next saves of this old file would push the newer snapshots out.
        if newest is not None and _finished_trials(newest, resting=True) > _finished_trials(self.live):
            return "has fewer finished trials than its newest snapshot"
        return None

    def _set_aside(self) -> None:
        """Rename the live file and its sidecars: a leftover rollback journal would be played into the restored file."""
        stamp = time.time_ns()
        for suffix in _SIDECARS:
            path = self.live.with_name(self.live.name + suffix)
            if path.exists():
                path.rename(path.with_name(f"{self.live.name}.replaced-{stamp}{suffix}"))

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.stem.rsplit(".", 1)[1])


def _connect(path: Path) -> sqlite3.Connection:
    """Open a live database as its writer does: what a killed one left unfinished is undone."""
    require_own_sidecars(path)
    # This makes no file, and falls back to reading where writing is not allowed.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)


def _back_up(source: Path, target: Path) -> None:
    """Copy a database that other processes may be writing, and check the copy.

    Raises:
        StorageError: The source is locked or damaged.
        OSError: The disk of the target is full.
    """
    deadline = time.monotonic() + BUSY_SECONDS

    def give_up(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise StorageError(f"The database {source} is locked by another program; no snapshot was made.")

    try:
        with closing(_connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy, progress=give_up, sleep=0.05)
    except sqlite3.Error as error:
        raise StorageError(f"No snapshot was made: the database {source} {sqlite_problem(error) or error}.") from error
    broken = damage(target)
    if broken is not None:
        raise StorageError(f"The database {source} is damaged ({broken}); its older snapshots stay.")


def _put(source: Path, target: Path) -> None:
    """Copy a file so that readers see all of it or nothing."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _finished_trials(path: Path, resting: bool = False) -> int:
    with closing(reading_connection(path, resting, BUSY_SECONDS)) as connection:
        try:
            return connection.execute(_FINISHED).fetchone()[0]
        except sqlite3.OperationalError:  # no tables yet
            return 0

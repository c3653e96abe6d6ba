"""Journal files that survive kills, full disks and network folders.

A journal is one JSON record per line. Optuna's own backend appends behind a torn last line and so makes the file unreadable;
this one cuts the torn bytes off first, under the lock, and keeps them beside the file.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from helpers.storage_errors import LEFT, StorageError, os_problem

logger = logging.getLogger(__name__)

LOCK_GRACE = 30  # seconds after which the lock of a process that was killed while it wrote is taken over


def lock_of(path: Path) -> JournalFileOpenLock:
    """Lock of a file between processes and, where the file system is shared, machines."""
    # Exclusive creation works on NFS 3+, SMB, Windows and Drive's FUSE; symbolic links do not exist on the latter.
    return JournalFileOpenLock(str(path), grace_period=LOCK_GRACE)


@contextmanager
def file_lock(lock: JournalFileOpenLock) -> Iterator[None]:
    """Hold a lock; wait for it without end, since that of a dead process is taken over."""
    lock.acquire()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # taken over after LOCK_GRACE: nothing is left to give back
            lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal backend with repair, all-or-nothing appends and clear errors.

    Args:
        path: The journal; made when absent. Its folder must exist.

    Raises:
        StorageError: Cannot be opened, read or repaired.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.lock = lock_of(self.path)
        with self._clear_errors():
            super().__init__(str(self.path), lock_obj=self.lock)
            # Looked at without the lock first, so that a journal in a read-only folder can still be read.
            if _whole_size(self.path) != self.path.stat().st_size:
                with file_lock(self.lock):
                    self._cut(_whole_size(self.path))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records from a number on.

        Raises:
            StorageError: A record before the last one is damaged.
        """
        with self._clear_errors():
            try:
                yield from super().read_logs(log_number_from)
            except ValueError as error:
                raise StorageError(f"{self.path} is damaged in the middle ({error}); {LEFT}.") from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records: all of them, or none when the disk is full or the process is interrupted.

        Raises:
            StorageError: They cannot be written.
        """
        content = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._clear_errors(), file_lock(self.lock):
            if not _ends_with_newline(self.path):  # another process was killed while it wrote
                self._cut(_whole_size(self.path))
            with self.path.open("ab", buffering=0) as stream:
                before = stream.seek(0, os.SEEK_END)
                try:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[stream.write(rest) :]
                    os.fsync(stream.fileno())
                except BaseException:
                    stream.truncate(before)
                    raise

    def _cut(self, size: int) -> None:
        """Truncate the journal, keeping what is cut off beside it. Call under the lock."""
        with self.path.open("r+b") as stream:
            stream.seek(size)
            torn = stream.read()
            if not torn:  # a live writer has completed its line meanwhile
                return
            kept = self.path.with_name(f"{self.path.name}.torn-{time.time_ns()}")
            kept.write_bytes(torn)
            stream.truncate(size)
            os.fsync(stream.fileno())
        logger.warning("%s ended in %d torn bytes; they were cut off and kept in %s", self.path, len(torn), kept)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"The journal {self.path} {os_problem(error)}.") from error


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


def _whole_size(path: Path) -> int:
    """Bytes up to the end of the last line that is a record: what follows is torn, or NULs of a power cut."""
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    while size:
        start = content.rfind(b"\n", 0, size - 1) + 1
        try:
            if isinstance(json.loads(content[start:size]), dict):
                break
        except ValueError:
            pass
        size = start
    return size

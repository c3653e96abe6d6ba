"""Journal files that survive kills, full disks and network folders.

A journal is one JSON record per line. Optuna's own backend appends behind a torn last line and so makes the file unreadable.
The writer here cuts the torn bytes off first, under the lock, and keeps them beside the file. The reader stops before them.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from gazegaussian.utils.plain_files import open_plain
from helpers.storage.errors import LEFT, StorageError, os_problem
from helpers.storage.locks import file_lock, lock_of

logger = logging.getLogger(__name__)

_LONGEST_LINE = 64_000_000  # bytes; a study's configuration takes thousands
_FIRST_BYTES = b'{"op_code":'  # of every record, as Optuna writes it


class JournalReader(BaseJournalBackend):
    """Reads a journal up to its last whole record; the file and its folder stay as they are.

    Args:
        path: An existing journal.

    Raises:
        StorageError: It cannot be read, or is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._offsets = [0]  # bytes, where each record begins
        with _clear_errors(self.path):
            require_journal(self.path)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records from a number on.

        Raises:
            StorageError: A record before the last one is damaged.
        """
        with _clear_errors(self.path), open_plain(self.path) as stream:
            number = min(log_number_from, len(self._offsets) - 1)
            stream.seek(self._offsets[number])
            for line in _lines(stream):
                record = _record(line)
                if record is None:
                    if any(_record(later) is not None for later in _lines(stream)):
                        raise StorageError(f"{self.path} is damaged in the middle (record {number + 1}); {LEFT}.")
                    return  # a torn end, or a line that is being written now
                number += 1
                if number == len(self._offsets):
                    self._offsets.append(self._offsets[-1] + len(line))
                if number > log_number_from:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Reject."""
        raise StorageError(f"The journal {self.path} is only read here (read-only); change the study where it runs.")


class Journal(JournalFileBackend):
    """Optuna's journal backend with repair, all-or-nothing appends and clear errors.

    Args:
        path: The journal; made when absent. Its folder must exist.

    Raises:
        StorageError: Cannot be opened, read or repaired, or is a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.lock = lock_of(self.path)
        with _clear_errors(self.path):
            if self.path.exists():
                require_journal(self.path)
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
        with _clear_errors(self.path):
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
        with _clear_errors(self.path), file_lock(self.lock):
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
        """Truncate the journal, keeping what is cut off beside it. Call under the lock.

        Raises:
            StorageError: More than one line would go, which no interrupted writer leaves.
        """
        with self.path.open("r+b") as stream:
            stream.seek(size)
            torn = stream.read()
            if not torn:  # a live writer has completed its line meanwhile
                return
            lines = torn.replace(b"\0", b"").rstrip(b"\n").count(b"\n") + 1  # NULs: of a power cut
            if lines > 1:
                raise StorageError(f"The journal {self.path} ends in {lines} lines that are no records; {LEFT}.")
            kept = self.path.with_name(f"{self.path.name}.torn-{time.time_ns()}")
            with kept.open("xb") as copy:
                copy.write(torn)
            stream.truncate(size)
            os.fsync(stream.fileno())
        logger.warning("%s ended in %d torn bytes; they were cut off and kept in %s", self.path, len(torn), kept)


def require_journal(path: Path) -> None:
    """Reject a file that is no journal, by its first line. An empty one, and one torn in its first record, may become one.

    Raises:
        OSError: It cannot be read, or is no regular file.
        StorageError: Its first line is no record.
    """
    with open_plain(path) as stream:
        first = stream.readline(_LONGEST_LINE)
    torn = not first.endswith(b"\n") and (first.startswith(_FIRST_BYTES) or _FIRST_BYTES.startswith(first))
    if not torn and _record(first) is None:
        raise StorageError(
            f"{path} is no journal of a study: its first line is no record. It was left as it is; name another storage."
        )


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"The journal {path} {os_problem(error)}.") from error


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines from where a stream stands, none longer than a record may be."""
    return iter(lambda: stream.readline(_LONGEST_LINE), b"")


def _record(line: bytes) -> dict[str, Any] | None:
    """Parse a line of a journal; None where it is no record."""
    if not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("op_code"), int) else None


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
        if _record(content[start:size]) is not None:
            break
        size = start
    return size

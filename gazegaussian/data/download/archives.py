"""Archives in one piece or in parts: only subject files come out, and nothing leaves the folder."""

from __future__ import annotations

import bisect
import io
import itertools
import logging
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath

from gazegaussian.errors import DataError
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.progress import progress

logger = logging.getLogger(__name__)


class JoinedFiles(io.RawIOBase):
    """Parts of a file read as the whole, without a copy of it on disk."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._streams = [path.open("rb") for path in parts]
        self._starts = [0, *itertools.accumulate(path.stat().st_size for path in parts)]
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position in the whole."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in the whole."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, begin + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read up to the end of the part at hand."""
        part = bisect.bisect_right(self._starts, self._position) - 1
        if part >= len(self._streams):
            return 0
        self._streams[part].seek(self._position - self._starts[part])
        count = self._streams[part].readinto(buffer)
        self._position += count
        return count

    def close(self) -> None:
        """Close all parts."""
        for stream in self._streams:
            stream.close()
        super().close()


def require_space(folder: Path, size: int, what: str) -> None:
    """Reject to begin what does not fit.

    Args:
        folder: Where it would go; made when missing.
        size: Bytes.
        what: Named in the error.

    Raises:
        DataError: The disk has less.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DataError(
            f"{folder}: expected {size / 1e9:.1f} GB of free disk for {what}, found {free / 1e9:.1f} GB; make room or give "
            "another folder"
        )


def unpack(parts: Sequence[Path], folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Unpack the wanted files of an archive straight into a folder, whatever folders the archive has inside.

    Args:
        parts: The archive (zip), or its parts in order.
        folder: Where to.
        patterns: Names of wanted files, such as `xgaze_*.h5`.

    Returns:
        The files; those that were there with their size before are left as they are.

    Raises:
        DataError: The archive is damaged, holds a name that leads out of its folder, a link, or no wanted file; or the disk
            is too small.
    """
    name = parts[0].name
    try:
        with io.BufferedReader(JoinedFiles(parts)) as whole, zipfile.ZipFile(whole) as archive:
            wanted = _wanted(archive.infolist(), patterns, name)
            missing = {
                target: member for target, member in wanted.items() if _size(folder / target) != member.file_size
            }
            require_space(folder, sum(member.file_size for member in missing.values()), f"what is in {name}")
            for target, member in progress(missing.items(), f"unpack {name}"):
                _extract(archive, member, folder / target)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{name}: expected a zip archive, found a damaged or locked one ({error}); download it again"
        ) from error
    return [folder / target for target in wanted]


def _wanted(members: Sequence[zipfile.ZipInfo], patterns: Sequence[str], name: str) -> dict[str, zipfile.ZipInfo]:
    """Wanted members by the name they get; the whole archive is rejected when one member is hostile."""
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        path = PurePosixPath(member.filename)
        leads_out = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if leads_out or PureWindowsPath(member.filename).drive or stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(
                f"{name}: expected files inside one folder, found {member.filename!r}, a link or a path that leads out of it; "
                "nothing was unpacked, do not trust this archive"
            )
        if member.is_dir() or not any(fnmatch(path.name, pattern) for pattern in patterns):
            continue
        if path.name in wanted:
            raise DataError(f"{name}: expected every file once, found {path.name} in several folders")
        wanted[path.name] = member
    if not wanted:
        inside = ", ".join(member.filename for member in members[:3]) or "nothing"
        raise DataError(f"{name}: expected files {' or '.join(patterns)}, found {inside}")
    return wanted


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    with atomic_file(target) as temporary, archive.open(member) as source, temporary.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)  # checks the member's checksum at its end

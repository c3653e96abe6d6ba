"""Fetch a published data set from the model hub: list, check the room, download, unpack, forget the archives."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gazegaussian.data.download.archives import require_space, unpack
from gazegaussian.data.download.hub import RemoteFile, fetch, list_files
from gazegaussian.data.published_sets import PublishedSet, published_sets
from gazegaussian.data.splits import SPLIT_FILE
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.utils.plain_files import read_plain

logger = logging.getLogger(__name__)

DONE_FILE = "download.json"  # archives that are unpacked: their sizes and the files that came out
WORK = ".download"


def download_set(
    name: str,
    folder: Path,
    splits: Sequence[str] = (),
    repository: str | None = None,
    revision: str | None = None,
) -> Path:
    """Download a data set of the published format, or resume a download.

    Args:
        name: Of a file in `configs/datasets`.
        folder: For the subject files; the archives lie in `.download` inside it until they are unpacked.
        splits: Only these; default all that are offered.
        repository: owner/name on the hub instead of the configured one.
        revision: Of the repository instead of the configured one.

    Returns:
        `folder`.

    Raises:
        ConfigError: Unknown data set or split.
        DataError: The hub cannot be reached, the download is incomplete or damaged, or the disk is too small.
    """
    folder = Path(folder)
    known = published_sets()
    if name not in known:
        raise ConfigError(f"Unknown data set {name!r}; known: {', '.join(known)}.")
    described = known[name]
    strange = sorted(set(splits) - described.archives.keys())
    if strange:
        raise ConfigError(
            f"{described.title} is offered as {', '.join(described.archives)}, not as {', '.join(strange)}."
        )
    source = repository or described.repository
    offered = list_files(source, revision or described.revision)
    wanted = {
        split: _archive(pattern, offered, source)
        for split, pattern in described.archives.items()
        if not splits or split in splits
    }
    for file in (file for files in wanted.values() for file in files):
        require_checksum(file, described.sha256.get(file.name), source)
    done = _done(folder)
    todo = {split: files for split, files in wanted.items() if not all(_is_here(file, done, folder) for file in files)}
    if not todo:
        logger.info("%s: %s is here already, nothing to do", folder, described.title)
        return folder
    work = folder / WORK
    total = sum(file.size for files in todo.values() for file in files)
    here = sum(path.stat().st_size for path in work.glob("*")) if work.is_dir() else 0
    require_space(
        folder, 2 * total - here, f"{described.title} ({total / 1e9:.1f} GB of archives, unpacked about as much)"
    )
    for split, files in todo.items():
        size = sum(file.size for file in files) / 1e9
        logger.info("%s, %s: %.2f GB in %d archives from %s", described.title, split, size, len(files), source)
        unpacked = _one(files, folder, described)
        done |= {file.name: {"size": file.size, "files": unpacked} for file in files}
        (folder / DONE_FILE).write_text(json.dumps(done, indent=2))
        for file in files:
            (work / file.name).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def _one(files: Sequence[RemoteFile], folder: Path, described: PublishedSet) -> list[str]:
    """Download and unpack one archive; names of the files that came out."""
    paths = [folder / WORK / file.name for file in files]
    for file, path in zip(files, paths, strict=True):
        fetch(file, path)
    unpacked = unpack(paths, folder, (f"{described.prefix}*.h5", SPLIT_FILE))
    logger.info("%s: %d files", folder, len(unpacked))
    return [path.name for path in unpacked]


def _archive(pattern: str, offered: Sequence[RemoteFile], source: str) -> list[RemoteFile]:
    """The archive, or its parts in order."""
    parts = sorted((file for file in offered if fnmatch(file.name, pattern)), key=lambda file: file.name)
    if not parts:
        names = ", ".join(file.name for file in offered[:5]) or "nothing"
        raise DataError(f"{source}: expected {pattern}, found {names}; give --repository the one that has it")
    if any("/" in file.name for file in parts):
        raise DataError(f"{source}: expected {pattern} at the top of the repository, found {parts[0].name}")
    return parts


def require_checksum(file: RemoteFile, pinned: str | None, source: str) -> None:
    """Reject an archive that could not be told from another one.

    Raises:
        DataError: The hub gives no SHA-256, or another one than is pinned.
    """
    if file.sha256 is None:
        raise DataError(f"{source}: expected a SHA-256 for {file.name}, the hub gives none; give another --repository")
    if pinned is not None and file.sha256 != pinned:
        raise DataError(
            f"{source}: {file.name} has the SHA-256 {file.sha256[:12]}, configs/datasets pins {pinned[:12]}: it is not the file "
            "that was described there; give --revision or --repository"
        )


def _is_here(file: RemoteFile, done: dict[str, Any], folder: Path) -> bool:
    record = done.get(file.name, {})
    return record.get("size") == file.size and all((folder / name).is_file() for name in record["files"])


def _done(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(json.loads(read_plain(folder / DONE_FILE)))
    return {}

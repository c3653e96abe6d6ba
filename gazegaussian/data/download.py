"""Fetch a published data set from the model hub: list, check the room, download, unpack, forget the archives."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from gazegaussian.data.archives import require_space, unpack
from gazegaussian.data.hub import RemoteFile, fetch, list_files
from gazegaussian.data.published_sets import PublishedSet, published_sets
from gazegaussian.data.splits import SPLIT_FILE
from gazegaussian.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

DONE_FILE = "download.json"  # archives that are unpacked, with their sizes
WORK = ".download"


def download_set(
    name: str,
    folder: Path,
    splits: Sequence[str] = (),
    repository: str | None = None,
    revision: str = "main",
) -> Path:
    """Download a data set of the published format, or go on with a download.

    Args:
        name: Of a file in `configs/datasets`.
        folder: For the subject files; the archives lie in `.download` inside it until they are unpacked.
        splits: Only these; default all that are offered.
        repository: owner/name on the hub instead of the configured one.
        revision: Of the repository.

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
    offered = list_files(source, revision)
    wanted = {
        split: _archive(pattern, offered, source)
        for split, pattern in described.archives.items()
        if not splits or split in splits
    }
    done = _done(folder)
    todo = {split: files for split, files in wanted.items() if any(done.get(f.name) != f.size for f in files)}
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
        logger.info("%s, %s: %d files, %.2f GB from %s", described.title, split, len(files), _gigabytes(files), source)
        _one(files, folder, described)
        done |= {file.name: file.size for file in files}
        (folder / DONE_FILE).write_text(json.dumps(done, indent=2))
        for file in files:
            (work / file.name).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def _one(files: Sequence[RemoteFile], folder: Path, described: PublishedSet) -> None:
    paths = [folder / WORK / file.name for file in files]
    for file, path in zip(files, paths, strict=True):
        fetch(file, path)
    found = unpack(paths, folder, (f"{described.prefix}*.h5", SPLIT_FILE))
    logger.info("%s: %d files", folder, len(found))


def _archive(pattern: str, offered: Sequence[RemoteFile], source: str) -> list[RemoteFile]:
    """The archive, or its parts in order."""
    found = sorted((file for file in offered if fnmatch(file.name, pattern)), key=lambda file: file.name)
    if not found:
        names = ", ".join(file.name for file in offered[:5]) or "nothing"
        raise DataError(f"{source}: expected {pattern}, found {names}; give --repository the one that has it")
    if any("/" in file.name for file in found):
        raise DataError(f"{source}: expected {pattern} at the top of the repository, found {found[0].name}")
    return found


def _done(folder: Path) -> dict[str, int]:
    with suppress(OSError, ValueError):
        return dict(json.loads((folder / DONE_FILE).read_text()))
    return {}


def _gigabytes(files: Sequence[RemoteFile]) -> float:
    return sum(file.size for file in files) / 1e9

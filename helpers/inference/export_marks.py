"""What an earlier export left, told from what others put under the same names: only that is overwritten or deleted.

The mark is `SHA256SUMS` together with the `origin.json` that it lists, which names the digest of the checkpoint beside it.
A file is ours as long as its listed digest fits.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain

SUMS = "SHA256SUMS"
ORIGIN = "origin.json"
CHECKPOINT = "best.pt"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]{1,255})")
_FACTS = {"stage", "variant", "sha256", "metric", "epoch"}  # keys of every origin.json
_LARGEST_MARK = 1_000_000  # bytes
_LARGEST_PART = 20  # times the archive; checkpoints shrink little and reports to a quarter


def own_files(folder: Path) -> dict[str, str]:
    """Find the files of an earlier export in a folder.

    Args:
        folder: Any; one that is not there holds none.

    Returns:
        Digests of the files that are still what was written, by name, the list of them included; empty without our mark.
    """
    try:
        sums = _small(folder / SUMS)
        origin = _small(folder / ORIGIN)
    except (OSError, ValueError):
        return {}
    listed = _listed(sums, origin)
    unchanged = {name: digest for name, digest in listed.items() if _digest(folder / name) == digest}
    return {**unchanged, SUMS: hashlib.sha256(sums).hexdigest()} if listed else {}


def require_free(folder: Path, names: Mapping[str, object] | set[str], ours: Mapping[str, str]) -> None:
    """Reject to write where something else stands under a name that is to be written.

    Args:
        folder: Where to.
        names: Of the files.
        ours: What `own_files` found there.

    Raises:
        ConfigError: With the first of them.
    """
    for name in sorted(names):
        path = folder / name
        if name not in ours and (path.is_symlink() or path.exists()):
            raise ConfigError(
                f"{path} is not what an earlier export wrote, or was changed since: move it away, or name another --out."
            )


def is_own_archive(path: Path) -> bool:
    """Tell whether a ZIP file holds one export, all of it as its own list says, and nothing else."""
    try:
        with open_plain(path, follow=False) as stream, zipfile.ZipFile(stream) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            size = stream.seek(0, 2)
            if len(entries) > 100 or sum(entry.file_size for entry in entries.values()) > _LARGEST_PART * size:
                return False
            tops = {name.partition("/")[0] for name in entries}
            if len(tops) != 1:
                return False
            top = tops.pop()
            marks = [entries[f"{top}/{name}"] for name in (SUMS, ORIGIN)]
            if any(entry.file_size > _LARGEST_MARK for entry in marks):
                return False
            listed = _listed(*(archive.read(entry) for entry in marks))
            if not listed or {f"{top}/{name}" for name in (*listed, SUMS)} != set(entries):
                return False
            return all(_packed_digest(archive, f"{top}/{name}") == digest for name, digest in listed.items())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
        return False


def _listed(sums: bytes, origin: bytes) -> dict[str, str]:
    """Digests by name of a list that is ours; empty where it is another's."""
    try:
        lines = sums.decode("utf-8").splitlines()
        facts = json.loads(origin)
    except (ValueError, RecursionError):
        return {}
    matches = [_LINE.fullmatch(line) for line in lines]
    if not matches or not isinstance(facts, dict) or not facts.keys() >= _FACTS:
        return {}
    listed = {match[2]: match[1] for match in matches if match is not None}
    if len(listed) != len(lines) or listed.keys() & {".", "..", SUMS}:
        return {}
    ours = listed.get(ORIGIN) == hashlib.sha256(origin).hexdigest() and listed.get(CHECKPOINT) == facts["sha256"]
    return listed if ours else {}


def _small(path: Path) -> bytes:
    with open_plain(path, follow=False) as stream:
        content = stream.read(_LARGEST_MARK + 1)
    if len(content) > _LARGEST_MARK:
        raise ValueError(f"{path} is too large for a mark")
    return content


def _digest(path: Path) -> str | None:
    try:
        with open_plain(path, follow=False) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def _packed_digest(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # has what it asks for

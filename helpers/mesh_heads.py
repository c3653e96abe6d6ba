"""Which MeshHead checkpoint stage two starts from: found under the results, or recorded with a winner."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.yaml_files import read_json

logger = logging.getLogger(__name__)

MESH_HEAD = "meshhead_checkpoint"


def best_mesh_head(out: Path) -> Path:
    """Best checkpoint of the newest MeshHead study under `out`.

    Raises:
        ConfigError: There is none.
    """
    found = []
    for path in Path(out).glob("*/best.json"):
        try:
            content = read_json(path)
        except ConfigError as error:  # another study's may serve
            logger.warning("%s is passed over: %s", path, error)
            continue
        if not isinstance(content, dict) or content.get("stage") != "meshhead":
            continue
        if not isinstance(content.get("checkpoint"), str):
            continue
        stored = Path(content["checkpoint"])
        # A study folder may have been moved since (from Drive to a local disk, say).
        moved = path.parent.resolve() / stored.parent.name / stored.name
        checkpoint = next((p for p in (stored, moved) if p.is_file()), None)
        if checkpoint is not None:
            found.append((path.stat().st_mtime, checkpoint))
    if not found:
        raise ConfigError(
            f"No finished MeshHead study under {out}. Run `study meshhead` first, or give --meshhead CHECKPOINT."
        )
    return max(found)[1]


def identify(checkpoint: Path) -> dict[str, Any]:
    """Describe a checkpoint so that it can be recognised: absolute path and sha256 (None when it is gone)."""
    path = checkpoint.resolve()
    return {"path": str(path), "sha256": _digest(path)}


def recorded_mesh_head(winner: Mapping[str, Any], origin: Path) -> Path | None:
    """Find the MeshHead checkpoint that the trials of a winner started from.

    Args:
        winner: Content of `best.json`.
        origin: That file; looked around when the results were moved together.

    Returns:
        The checkpoint, or None when the file names none.

    Raises:
        ConfigError: It is gone, or another one lies in its place.
    """
    record = winner.get(MESH_HEAD)
    if not record:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise ConfigError(
            f"{origin}: {MESH_HEAD} must hold path and sha256 of a checkpoint; give --meshhead CHECKPOINT."
        )
    stored, digest = Path(record["path"]), record.get("sha256")
    moved = origin.resolve().parent.parent.joinpath(*stored.parts[-3:])  # STUDY/trial_0007/best.pt beside this study
    there = [path for path in (stored, moved) if path.is_file()]
    same = next((path for path in there if digest in (None, _digest(path))), None)
    if same is None:
        what = f"has changed since ({there[0]})" if there else "is gone"
        raise ConfigError(
            f"{origin}: its trials started from the MeshHead checkpoint {stored}, which {what}. Give --meshhead CHECKPOINT "
            "to choose what to start from."
        )
    return same


def _digest(path: Path) -> str | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return _digest_of(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _digest_of(path: Path, size: int, changed: int) -> str:
    """Read a file once as long as it looks the same: results are written after every trial."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

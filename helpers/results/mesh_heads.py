"""Which MeshHead checkpoint stage two starts from: found under the results, or recorded with a best trial."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import read_yaml
from helpers.results.best_files import best_files
from helpers.search.trial_names import is_smoke_test
from helpers.utils.files import digest_or_none
from helpers.utils.runtime import lost_studies_hint

logger = logging.getLogger(__name__)

MESH_HEAD = "meshhead_checkpoint"


@dataclass(frozen=True)
class _Candidate:
    """Best checkpoint of a MeshHead study."""

    study: str  # name of its folder
    checkpoint: Path
    image_size: int | None  # pixels; None where its trial left no configuration
    changed: float  # when the best trial was trained last, seconds

    def __str__(self) -> str:
        return f"{self.study} ({'unknown size' if self.image_size is None else f'{self.image_size} px'})"


def best_mesh_head(out: Path, image_size: int | None = None, preferred: str | None = None) -> Path:
    """Choose the MeshHead checkpoint that a stage two starts from when none is named, and log the choice.

    Studies of the wanted image size come before those of an unknown and those of another one; among equals the
    preferred study comes first, smoke tests last, and then the one whose best trial is the newest.

    Args:
        out: Where studies are.
        image_size: Pixels of stage two; None takes any.
        preferred: Name of the study that belongs to the configuration, `meshhead_quick` for `runs/gazegaussian/quick.yaml`.

    Raises:
        ConfigError: There is no MeshHead study with a best trial.
    """
    candidates = _mesh_head_studies(Path(out))
    if not candidates:
        raise ConfigError(
            f"No finished MeshHead study under {out}. Run `study meshhead` first, or give --meshhead CHECKPOINT."
            f"{lost_studies_hint(out)}"
        )

    def rank(one: _Candidate) -> tuple[bool, bool, bool, bool, float]:
        fits = image_size in (None, one.image_size)
        return fits, one.image_size is None, one.study == preferred, not is_smoke_test(one.study), one.changed

    first, *others = sorted(candidates, key=rank, reverse=True)
    why = "which belongs to this configuration" if first.study == preferred else "the newest"
    logger.info(
        "using the MeshHead of study %s%s: %s (--meshhead chooses another)",
        first,
        f", {why}" if others else "",
        first.checkpoint,
    )
    if others:
        logger.info("not used: %s", "; ".join(f"{o}: {o.checkpoint}" for o in others))
    if None not in (image_size, first.image_size) and first.image_size != image_size:
        logger.warning("that MeshHead has learnt %d px, this configuration has %d px", first.image_size, image_size)
    return first.checkpoint


def _mesh_head_studies(out: Path) -> list[_Candidate]:
    candidates = []
    for path, content in best_files(out, "meshhead"):
        if not isinstance(content.get("checkpoint"), str):
            continue
        stored = Path(content["checkpoint"])
        # A study folder may have been moved since (from Drive to a local disk, say).
        moved = path.parent.resolve() / stored.parent.name / stored.name
        checkpoint = next((p for p in (stored, moved) if p.is_file()), None)
        if checkpoint is not None:
            size = _image_size(checkpoint.parent / "config.yaml")
            candidates.append(_Candidate(path.parent.name, checkpoint, size, checkpoint.stat().st_mtime))
    return candidates


def _image_size(config: Path) -> int | None:
    try:
        return int(read_yaml(config)["data"]["image_size"])
    except (ConfigError, OSError, KeyError, TypeError, ValueError):
        return None


def recorded_mesh_head(best: Mapping[str, Any], origin: Path) -> Path | None:
    """Find the MeshHead checkpoint that the trials of a best trial started from.

    Args:
        best: Content of `best.json`.
        origin: That file; looked around when the results were moved together.

    Returns:
        The checkpoint, or None when the file names none.

    Raises:
        ConfigError: It is gone, or another one lies in its place.
    """
    record = best.get(MESH_HEAD)
    if not record:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise ConfigError(
            f"{origin}: {MESH_HEAD} must hold path and sha256 of a checkpoint; give --meshhead CHECKPOINT."
        )
    stored = Path(record["path"])
    digest = record.get("sha256")
    moved = origin.resolve().parent.parent.joinpath(*stored.parts[-3:])  # STUDY/trial_0007/best.pt beside this study
    there = [path for path in (stored, moved) if path.is_file()]
    same = next((path for path in there if digest in (None, digest_or_none(path))), None)
    if same is None:
        what = f"has changed since ({there[0]})" if there else "is gone"
        raise ConfigError(
            f"{origin}: its trials started from the MeshHead checkpoint {stored}, which {what}. Give --meshhead CHECKPOINT "
            "to choose what to start from."
        )
    return same

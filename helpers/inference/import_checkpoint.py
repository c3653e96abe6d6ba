"""Takes in published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazegaussian.training.checkpoint_files import require_checkpoint


@dataclass(frozen=True)
class ImportReport:
    """What became of a published checkpoint."""

    checkpoint: Path  # ours
    stage: str
    variant: str
    unused: dict[str, list[str]]  # why -> entries of the published checkpoint


def import_checkpoint(checkpoint: Path, out: Path | None = None) -> ImportReport:
    """Write `best.pt`, a checkpoint of ours, from a published MeshHead or GazeGaussian.

    Args:
        checkpoint: Published file.
        out: Folder to write to; default `optuna_results/imported_STAGE`.

    Raises:
        CheckpointError: The file is no published checkpoint, something in it is missing or of another shape, or the folder
            holds another checkpoint.
    """
    require_checkpoint(Path(checkpoint), hint="Name the file of a published MeshHead or GazeGaussian.")
    from gazegaussian.published.import_checkpoint import import_published  # torch

    path, imported = import_published(Path(checkpoint), None if out is None else Path(out))
    return ImportReport(path, imported.stage, imported.config.model.variant, imported.by_reason)

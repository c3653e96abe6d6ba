"""What an earlier training left in a folder, and whether another may resume there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from gazegaussian.config import RunConfig
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.builtin_hooks import stop_reason
from gazegaussian.training.changed_fields import changed_fields
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.hooks import IMAGES
from gazegaussian.training.trainer import TrainResult
from gazegaussian.utils.counts import counted

logger = logging.getLogger(__name__)

BEST = "best.pt"
LAST = "last.pt"
TRACES = (BEST, LAST, "metrics.csv", "run.log")


@dataclass(frozen=True)
class EarlierRun:
    """A training found in a folder."""

    result: TrainResult  # up to its last finished epoch
    finished: bool


def find_run(config: RunConfig, run_dir: Path) -> EarlierRun | None:
    """Look for a training of the same configuration, finished or not; more epochs than before resume it.

    Args:
        config: What is to be trained now.
        run_dir: Folder of the run.

    Returns:
        What is there; None when no epoch was ever finished.

    Raises:
        ConfigError: The folder holds a training of another configuration.
        CheckpointError: There are checkpoints, and none can be read.
    """
    path = resume_point(run_dir)
    if path is None:
        return None
    content = load_checkpoint(path)
    with contents_of(path):
        started_with = content["config"]["training"]["epochs"]
        more = config.training.epochs > started_with
        changed = changed_fields(content["config"], config, {"epochs"} if more else ())
        history = [dict(row) for row in content["history"]]
        best = content["best"]
        reason = stop_reason(history, config.training)
        result = TrainResult(best["metric"], best["epoch"], history, run_dir / BEST, run_dir / LAST, reason)
    if changed == [f"epochs: {started_with} -> {config.training.epochs}"]:
        asked = f"{config.training.epochs} {'was' if config.training.epochs == 1 else 'were'} asked for"
        raise ConfigError(
            f"{run_dir} holds this training with {len(history)} of {counted(started_with, 'epoch')} finished, and "
            f"{asked}: give --epochs {started_with} or more, or another --out."
        )
    if changed:
        raise ConfigError(
            f"{run_dir} holds a training of another configuration ({'; '.join(changed)}). Give another --out, or delete "
            "the folder."
        )
    return EarlierRun(result, len(history) >= config.training.epochs or reason is not None)


def resume_point(run_dir: Path) -> Path | None:
    """Find the newest full state in a folder.

    It is `last.pt`; `best.pt` when a kill came between the two of the first epoch, or when the disk has damaged the other.

    Returns:
        A checkpoint that can be read; None where there is none at all.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    failed: CheckpointError | None = None
    for path in (run_dir / LAST, run_dir / BEST):
        if not path.exists():
            continue
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            failed = failed or error
            continue
        if failed is not None:
            logger.warning("%s The training resumes from the one before, %s.", failed, path.name)
        return path
    if failed is not None:
        raise failed
    return None


def clear_traces(run_dir: Path) -> None:
    """Delete what an earlier training wrote, so that nothing old stands beside the new; other files stay."""
    for path in (*(run_dir / name for name in TRACES), *(run_dir / IMAGES).glob("epoch_*.png")):
        path.unlink(missing_ok=True)

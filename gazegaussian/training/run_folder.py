"""What an earlier training left in a folder, and whether another may go on there."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazegaussian.config import RunConfig, parse_run
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.hooks import IMAGES, stop_reason
from gazegaussian.training.trainer import TrainResult

logger = logging.getLogger(__name__)

# Fields that may change between two calls: they decide where and how fast, not what is computed.
RUNTIME_FIELDS = frozenset({"device", "workers", "threads", "preview_images", "cache"})
PATHS = frozenset({"root", "meshhead_checkpoint", "init_from"})
BEST, LAST = "best.pt", "last.pt"
TRACES = (BEST, LAST, "metrics.csv", "run.log")


@dataclass(frozen=True)
class EarlierRun:
    """A training found in a folder."""

    result: TrainResult  # up to its last finished epoch
    finished: bool


def find_run(config: RunConfig, run_dir: Path) -> EarlierRun | None:
    """Look for a training of the same configuration, finished or not; more epochs than before go on with it.

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
        begun_with = content["config"]["training"]["epochs"]
        more = config.training.epochs > begun_with
        changed = changed_fields(content["config"], config, {"epochs"} if more else ())
        history, best = [dict(row) for row in content["history"]], content["best"]
        reason = stop_reason(history, config.training)
        result = TrainResult(best["metric"], best["epoch"], history, run_dir / BEST, run_dir / LAST, reason)
    if changed == [f"epochs: {begun_with} -> {config.training.epochs}"]:
        raise ConfigError(
            f"{run_dir} holds this training with {len(history)} of {begun_with} epochs finished, and "
            f"{config.training.epochs} were asked for: give --epochs {begun_with} or more, or another --out."
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
            logger.warning("%s The training goes on from the one before, %s.", failed, path.name)
        return path
    if failed is not None:
        raise failed
    return None


def clear_traces(run_dir: Path) -> None:
    """Delete what an earlier training wrote, so that nothing old stands beside the new; other files stay."""
    for path in (*(run_dir / name for name in TRACES), *(run_dir / IMAGES).glob("epoch_*.png")):
        path.unlink(missing_ok=True)


def changed_fields(stored: Mapping[str, Any], config: RunConfig, free: Collection[str] = ()) -> list[str]:
    """Name the fields that decide the outcome and differ, as `field: stored -> here`.

    Args:
        stored: Content of an earlier run configuration; fields that it lacks have their defaults.
        config: The present one.
        free: Fields that may differ.
    """
    if stored.get("stage") != config.stage:
        return [f"stage: {stored.get('stage')} -> {config.stage}"]
    earlier = parse_run(stored, origin="the earlier run configuration")
    before, now = (_flat(run.model_dump(mode="json")) for run in (earlier, config))
    return [f"{name}: {before[name]} -> {now[name]}" for name in now if name not in free and before[name] != now[name]]


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Bare field names (they are unique) to values that can be compared."""
    sections = [value if isinstance(value, dict) else {name: value} for name, value in content.items()]
    values = {name: value for section in sections for name, value in section.items() if name not in RUNTIME_FIELDS}
    return {n: os.path.abspath(v) if n in PATHS and v is not None else v for n, v in values.items()}

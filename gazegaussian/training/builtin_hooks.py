"""The hooks of every training: metrics file, epoch line, previews, early stopping."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gazegaussian.config import StageTraining
from gazegaussian.stages import find_stage
from gazegaussian.training.hooks import IMAGES, Hook
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.counts import counted
from gazegaussian.utils.durations import time_left
from gazegaussian.utils.image_grid import save_image

if TYPE_CHECKING:
    from gazegaussian.training.trainer import Trainer


logger = logging.getLogger(__name__)


class MetricsFile(Hook):
    """Keeps `metrics.csv`: one row per epoch, rewritten whole so that a kill never leaves half a row."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Write all rows."""
        path = trainer.run_dir / "metrics.csv"
        names = list(dict.fromkeys(name for row in trainer.history for name in row))
        with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names, restval="")
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"]) + 1} for row in trainer.history)


class EpochLine(Hook):
    """Logs one plain line per epoch, with the time left."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Note which epochs this process trains."""
        self._before = len(trainer.history)

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Log the epoch."""
        spec = find_stage(trainer.stage.name)
        shown = [name for name in (spec.metrics if spec else ()) if name in metrics]
        extra = "".join(f"  {name} {metrics[name]:.3f}" for name in shown)
        own = [row["seconds"] for row in trainer.history[self._before :]]
        ahead = trainer.config.epochs - epoch - 1
        left = f"  {time_left(sum(own) / len(own) * ahead)} left" if ahead else ""
        more = "; ".join(filter(None, (hook.forecast(trainer, epoch) for hook in trainer.hooks)))
        logger.info(
            "epoch %d/%d  train %.4f  %s %.4f%s  %.1f s%s%s",
            epoch + 1,
            trainer.config.epochs,
            metrics["train_loss"],
            trainer.config.monitor,
            metrics[trainer.config.monitor],
            extra,
            metrics["seconds"],
            left,
            f"  ({more})" if more else "",
        )


class PreviewImages(Hook):
    """Saves a grid of validation images per epoch under `images/`."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Render and save."""
        grid = trainer.stage.preview()
        if grid is not None:
            save_image(trainer.run_dir / IMAGES / f"epoch_{epoch + 1:04d}.png", grid.cpu().numpy())


class EarlyStopping(Hook):
    """Stops when the metric has not improved by `min_delta` for `patience` epochs; a resumed run stops at the same."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Leave a run alone that had stopped before."""
        self._check(trainer)

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Recompute from the history, which survives a restart."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        reason = stop_reason(trainer.history, trainer.config)
        if reason is not None:
            trainer.stop(reason)


def stop_reason(history: Sequence[Mapping[str, float]], training: StageTraining) -> str | None:
    """Say why early stopping ends a run after these epochs; None when it continues.

    Args:
        history: Metrics of the epochs so far.
        training: Patience, least improvement and the metric.
    """
    if training.patience is None:
        return None
    sign = 1 if training.monitor_mode == "min" else -1
    best = math.inf
    since = 0
    for row in history:
        value = sign * row[training.monitor]
        best, since = (value, 0) if value < best - training.min_delta else (best, since + 1)
    return (
        f"no improvement of {training.monitor} for {counted(training.patience, 'epoch')}"
        if since >= training.patience
        else None
    )

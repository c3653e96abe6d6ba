"""The trainer announces, hooks react. Studies add their own (pruning) without touching the loop."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gazegaussian.training.checkpoints import atomic_path, commit_file

if TYPE_CHECKING:
    from gazegaussian.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)


class Hook:
    """Does nothing; override what you need. Whatever a hook raises ends the run after `last.pt` was written."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Run before the first epoch."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Run after an epoch (counted from 0) was validated and saved."""

    def on_fit_end(self, trainer: Trainer, result: TrainResult) -> None:
        """Run after the last epoch."""


class MetricsFile(Hook):
    """Keeps `metrics.csv`: one row per epoch, rewritten whole so that a kill never leaves half a row."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Write all rows."""
        path = trainer.run_dir / "metrics.csv"
        names = list(dict.fromkeys(name for row in trainer.history for name in row))
        temporary = atomic_path(path)
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names, restval="")
            writer.writeheader()
            writer.writerows(trainer.history)
        commit_file(temporary, path)


class EpochLine(Hook):
    """Logs one plain line per epoch."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Log the epoch."""
        shown = [name for name in ("gaze_error_deg", "psnr", "silhouette_iou") if name in metrics]
        extra = "".join(f"  {name} {metrics[name]:.3f}" for name in shown)
        logger.info(
            "epoch %d/%d  train %.4f  %s %.4f%s  %.1f s",
            epoch + 1,
            trainer.config.epochs,
            metrics["train_loss"],
            trainer.config.monitor,
            metrics[trainer.config.monitor],
            extra,
            metrics["seconds"],
        )


class PreviewImages(Hook):
    """Saves a grid of validation images per epoch under `images/`."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Render and save."""
        grid = trainer.stage.preview()
        if grid is not None:
            save_image(trainer.run_dir / "images" / f"epoch_{epoch:04d}.png", grid.cpu().numpy())


class EarlyStopping(Hook):
    """Stops when the metric has not improved by `min_delta` for `patience` epochs."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Recompute from the history, so that a resumed run stops at the same epoch."""
        patience = trainer.config.patience
        if patience is None:
            return
        sign = 1 if trainer.config.monitor_mode == "min" else -1
        best, since = math.inf, 0
        for row in trainer.history:
            value = sign * row[trainer.config.monitor]
            best, since = (value, 0) if value < best - trainer.config.min_delta else (best, since + 1)
        if since >= patience:
            trainer.stop(f"no improvement of {trainer.config.monitor} for {patience} epochs")


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image [3, H, W] in [0, 1] as PNG, atomically."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    temporary = atomic_path(path)
    Image.fromarray(pixels).save(temporary, format="PNG")
    commit_file(temporary, path)

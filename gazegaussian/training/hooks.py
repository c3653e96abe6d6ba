"""The trainer announces, hooks react. Studies add their own (pruning) without touching the loop.

Epochs are counted from 0 in the program and from 1 wherever people look: logs, `metrics.csv`, image names, figures.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gazegaussian.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)

IMAGES = "images"  # folder of the validation images in a run's folder


class Hook:
    """Does nothing; override what you need. Whatever a hook raises ends the run after `last.pt` was written."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Run before the first epoch."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Run after an epoch (counted from 0) was validated and saved."""

    def forecast(self, trainer: Trainer, epoch: int) -> str:
        """Say more about the time left, for the line of an epoch that was just saved; empty: nothing to say."""
        return ""

    def on_fit_end(self, trainer: Trainer, result: TrainResult) -> None:
        """Run after the last epoch."""

"""One training of a recording: to the end, without pruning, or until it diverges, fails or is asked to stop."""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.search_efficiency.curves import CPU_SECONDS, Status
from gazegaussian.build import load_mesh_head, resolve_data
from gazegaussian.config import GazeGaussianRun, MeshHeadRun, RunConfig
from gazegaussian.data import HeadDataset
from gazegaussian.errors import NonFiniteError, class_and_line
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.hooks import Hook
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.stage import Stage
from gazegaussian.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What training a configuration left."""

    status: Status
    reason: str
    rows: list[dict[str, float]]  # metrics of each epoch
    warm_up_seconds: float
    warm_up_cpu_seconds: float


class Stopped(Exception):
    """The recording was asked to stop; the training at work is dropped."""


class _Epochs(Hook):
    """Keeps the epochs that were trained, also when training ends with an error, with their processor time.

    Args:
        stop: Asked after every epoch but the last.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.rows: list[dict[str, float]] = []
        self.stop = stop
        self.started = time.process_time()
        self.warm_up = 0.0  # processor seconds before the first epoch
        self._before = self.started

    def on_fit_start(self, trainer: Trainer) -> None:
        """End the warm-up."""
        self._before = time.process_time()
        self.warm_up = self._before - self.started

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Copy the epoch."""
        now = time.process_time()
        self.rows.append({**metrics, CPU_SECONDS: now - self._before})
        self._before = now
        if len(self.rows) < trainer.config.epochs and self.stop():
            raise Stopped


@functools.lru_cache(maxsize=1)
def _datasets(root: Path, size: int) -> tuple[HeadDataset, HeadDataset]:
    return HeadDataset(root, "train", size, cache=True), HeadDataset(root, "val", size, cache=True)


def build(config: RunConfig) -> Stage:
    """Do what `gazegaussian.build.build_stage` does, with the images of the configuration before."""
    assert isinstance(config, MeshHeadRun | GazeGaussianRun)
    train, validation = _datasets(resolve_data(config), config.data.image_size)
    torch.manual_seed(config.training.seed)
    if not isinstance(config, GazeGaussianRun):
        return MeshHeadStage(config, train, validation)
    if config.init_from:
        return GazeGaussianStage(config, None, train, validation)
    assert config.meshhead_checkpoint is not None
    # Loaded anew each time: it draws the random numbers that it draws in a study.
    return GazeGaussianStage(config, load_mesh_head(config.meshhead_checkpoint), train, validation)


def train(config: RunConfig, stop: Callable[[], bool]) -> Training:
    """Train one configuration to the end, or until it diverges or fails.

    Args:
        config: Of this training; its monitored metric decides whether it diverged.
        stop: Asked after every epoch but the last.

    Raises:
        Stopped: The recording stops.
        UserError: Data or checkpoint cannot be used, which no configuration is to blame for.
    """
    status: Status = "complete"
    reason = ""
    epochs = _Epochs(stop)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="curve_") as folder:
            trainer = Trainer(build(config), config.training, config.optim, Path(folder), [epochs])
            trainer.fit()
    except NonFiniteError as error:
        status = "diverged"
        reason = str(error)
    except (RuntimeError, ArithmeticError, ValueError, MemoryError) as error:  # an empty surface, out of memory
        logger.exception("a training failed")
        status = "failed"
        reason = class_and_line(error)
    rows = epochs.rows
    if status == "complete" and not np.isfinite([row[config.training.monitor] for row in rows]).all():
        status = "diverged"
        reason = f"{config.training.monitor} was not finite"
    warm_up = max(0.0, time.monotonic() - started - sum(row["seconds"] for row in rows))
    return Training(status, reason, rows, warm_up, epochs.warm_up)

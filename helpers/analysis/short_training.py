"""Very short trainings for the audit: two epochs of the real trainer on two batches."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import NonFiniteError, class_and_line
from gazegaussian.fields import parameter_fields
from gazegaussian.training.hooks import Hook
from gazegaussian.training.stage import Stage
from gazegaussian.training.trainer import Trainer

Build = Callable[[RunConfig], Stage]

EPOCHS = 2  # the second one sees what a schedule makes of the learning rate
VALIDATION_IMAGES = 2
BATCHES = 2  # per pass; two batch sizes then always differ in the number of steps


@dataclass(frozen=True)
class ShortRun:
    """What the audit compares of a short training; weights lie on the CPU."""

    weights: dict[str, Tensor]  # the whole state dict after training
    parameters: frozenset[str]  # names of what got a gradient
    length: float  # Euclidean distance of the trained parameters from where they started
    failure: str | None  # why training ended early, when it did

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every entry of the state dict."""
        return {name: value.shape for name, value in self.weights.items()}

    def distance(self, other: ShortRun) -> float:
        """Euclidean distance of the trained parameters; infinite when the shapes differ."""
        if self.shapes != other.shapes:
            return math.inf
        squares = [
            (self.weights[name].double() - other.weights[name].double()).square().sum().item()
            for name in self.parameters
        ]
        return math.sqrt(math.fsum(squares))


def without_delays(config: RunConfig) -> RunConfig:
    """Return the configuration with every loss term acting from the first epoch."""
    delayed = {name: 0 for name in parameter_fields(config) if name.endswith("_start_epoch")}
    return with_parameters(config, delayed)


def shortened(config: RunConfig) -> RunConfig:
    """Return the configuration with a few images and epochs; everything that may be searched stays."""
    few = {
        "epochs": EPOCHS,
        "max_train_images": BATCHES * config.training.batch_size,
        "max_val_images": VALIDATION_IMAGES,
        "preview_images": 0,
        "patience": None,
    }
    return with_parameters(without_delays(config), few)


class ShortTraining:
    """A stage trained for a few steps.

    Args:
        build: Makes the stage.
        config: A `shortened` configuration with the value under audit.

    Raises:
        UserError: Data, checkpoint or configuration cannot be used.
    """

    def __init__(self, build: Build, config: RunConfig) -> None:
        torch.manual_seed(config.training.seed)
        self.config = config
        start = _Start()
        failure = None
        with tempfile.TemporaryDirectory(prefix="audit_") as folder, quiet_package():
            self.stage = build(config)
            self.trainer = Trainer(_Twice(self.stage), config.training, config.optim, Path(folder), [start])
            try:
                self.trainer.fit()
            except (NonFiniteError, torch.OutOfMemoryError) as error:  # it trained, if not for long
                failure = class_and_line(error)
        weights = state_of(self.stage)
        trained = {name for name, value in self.stage.module.named_parameters() if value.grad is not None}
        names = frozenset(trained & weights.keys())
        run = ShortRun(weights, names, 0.0, failure)
        started = replace(run, weights=start.weights or weights)
        self.run = replace(run, length=run.distance(started))
        # Moved without a gradient, as averages of the weights are.
        self.averages = {name for name in weights if not torch.equal(weights[name], started.weights[name])} - names


class _Start(Hook):
    """Remembers the weights that training starts from, after the warm start."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer) -> None:
        """Copy them."""
        self.weights = state_of(trainer.stage)


class _Twice:
    """A stage whose epochs pass twice over their batches.

    What belongs to one image (its code and camera offsets) starts at zero, where a penalty has no gradient: only the
    second visit of an image shows whether the weight of that penalty is read.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def batches(self, epoch: int) -> list[Any]:
        """Return the epoch's batches, twice."""
        return 2 * list(self._stage.batches(epoch))


def state_of(stage: Stage) -> dict[str, Tensor]:
    """Copy a stage's state dict to the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in stage.module.state_dict().items()}


@contextmanager
def quiet_package() -> Iterator[None]:
    """Hold back the package's lines about data, warm starts and epochs while short runs last."""
    package = logging.getLogger("gazegaussian")
    level = package.level
    package.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        package.setLevel(level)

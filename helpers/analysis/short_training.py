"""Very short trainings for the audit: two epochs of the real trainer on two batches."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, class_and_line
from gazegaussian.fields import parameter_fields
from gazegaussian.training.hooks import Hook
from gazegaussian.training.stage import Stage
from gazegaussian.training.trainer import Trainer

Build = Callable[[RunConfig], Stage]

EPOCHS = 2  # the second one sees what a schedule makes of the learning rate
VALIDATION_IMAGES = 2  # where predictions, not the metric, are what matters
MOST_VALIDATION_IMAGES = 100  # that are tried where fewer are not allowed
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
    """Return the configuration with every loss term that is on acting from the first epoch that its field admits."""
    for name, (section, field) in parameter_fields(config).items():
        own = getattr(getattr(config, section), field)
        if name.endswith("_start_epoch") and own is not None:
            config = _first_admitted(config, name, range(own))
    return config


def few_validation_images(config: RunConfig) -> RunConfig:
    """Return the configuration with as few validation images as it admits, at least two."""
    own = config.data.max_val_images
    return _first_admitted(config, "max_val_images", range(VALIDATION_IMAGES, own or MOST_VALIDATION_IMAGES))


def _first_admitted(config: RunConfig, name: str, values: Iterable[int]) -> RunConfig:
    """Set a field to the first value that is allowed; none leaves it as it is."""
    for value in values:
        with suppress(ConfigError):
            return with_parameters(config, {name: value})
    return config


def shortened(config: RunConfig) -> RunConfig:
    """Return the configuration with a few images and epochs; everything that may be searched stays."""
    few = {
        "epochs": EPOCHS,
        "max_train_images": BATCHES * config.training.batch_size,
        "preview_images": 0,
        "patience": None,
    }
    return with_parameters(few_validation_images(without_delays(config)), few)


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
    """Copy the tensors of a stage's state dict to the CPU."""
    state = stage.module.state_dict()
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items() if isinstance(value, Tensor)}


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

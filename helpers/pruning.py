"""Samplers and pruners by name, and the hook that reports every epoch to the pruner."""

from __future__ import annotations

import inspect
import math
from typing import Any

import optuna

from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import Trainer
from helpers.search_space import Component

PRUNERS = ("median", "hyperband", "sha", "none")
HYPERBAND_MIN_EPOCHS = 5
MEDIAN = {"n_startup_trials": 3, "n_warmup_steps": 5, "interval_steps": 1}


class PruningHook(Hook):
    """Reports the metric once per epoch and stops the trial when the pruner says so."""

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_fit_start(self, trainer: Trainer) -> None:
        """Report the epochs that a resumed trial brings along."""
        for epoch, row in enumerate(trainer.history):
            self.trial.report(row[self.metric], epoch)

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Report, then prune.

        Raises:
            optuna.TrialPruned: The pruner gives the trial up.
            NonFiniteError: The metric is NaN or infinite; Optuna never sees it, since a NaN is not pruned and an
                infinite value would count as a result.
        """
        if not math.isfinite(metrics[self.metric]):
            raise NonFiniteError(f"{self.metric} is {metrics[self.metric]} after epoch {epoch + 1}")
        self.trial.report(metrics[self.metric], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}")


def make_pruner(component: Component, epochs: int) -> optuna.pruners.BasePruner:
    """Build a pruner.

    Args:
        component: `median`, `hyperband`, `sha`, `none`, or `optuna.pruners.NAME` with its arguments.
        epochs: Of one trial; hyperband's longest budget.

    Raises:
        ConfigError: Unknown name or argument.
    """
    presets: dict[str, tuple[str, dict[str, Any]]] = {
        "median": ("MedianPruner", dict(MEDIAN)),
        "hyperband": (
            "HyperbandPruner",
            {
                "min_resource": min(HYPERBAND_MIN_EPOCHS, max(1, epochs // 3)),
                "max_resource": epochs,
                "reduction_factor": 3,
            },
        ),
        "sha": ("SuccessiveHalvingPruner", {"min_resource": max(1, epochs // 4), "reduction_factor": 3}),
        "none": ("NopPruner", {}),
    }
    return _make(optuna.pruners, component, presets, {})


def make_sampler(component: Component, seed: int) -> optuna.samplers.BaseSampler:
    """Build a sampler.

    Args:
        component: `tpe`, `random`, or `optuna.samplers.NAME` with its arguments.
        seed: Used where the sampler takes one and the arguments name none.

    Raises:
        ConfigError: Unknown name or argument.
    """
    presets: dict[str, tuple[str, dict[str, Any]]] = {"tpe": ("TPESampler", {}), "random": ("RandomSampler", {})}
    return _make(optuna.samplers, component, presets, {"seed": seed})


def _make(module: Any, component: Component, presets: dict[str, tuple[str, dict[str, Any]]], offered: dict) -> Any:
    """Only classes of Optuna's own module are reachable from a file."""
    name, kwargs = presets.get(component.name, (component.name.removeprefix(f"{module.__name__}."), {}))
    cls = getattr(module, name, None) if name in getattr(module, "__all__", dir(module)) else None
    if not inspect.isclass(cls):
        raise ConfigError(
            f"Unknown {module.__name__} {component.name!r}; use {', '.join(presets)} or {module.__name__}.NAME."
        )
    accepted = inspect.signature(cls).parameters
    usable = {key: value for key, value in offered.items() if key in accepted}
    try:
        return cls(**{**usable, **kwargs, **component.kwargs})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{module.__name__}.{name} refuses {component.kwargs}: {error}") from error

"""Samplers and pruners of a study: presets by short name, the grid of a search space, a pruner that waits for some epochs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import ConfigError
from helpers.search.registry import build, described, find_class, nested
from helpers.search.study_config import SHORT_SAMPLERS, Component, StudyFile

logger = logging.getLogger(__name__)

SAMPLERS = tuple(SHORT_SAMPLERS)
_PRESET_ARGUMENTS: dict[str, dict[str, Any]] = {"tpe_univariate": {"multivariate": False}}
_GRIDS = ("GridSampler", "BruteForceSampler")
_RESTART = 1000  # between the seeds of two processes of one study

HYPERBAND_MIN_EPOCHS = 5
SHA_MIN_EPOCHS = 3
MEDIAN = {"n_startup_trials": 3, "n_warmup_steps": 5, "interval_steps": 1}
PERCENTILE = {"percentile": 25.0, "n_startup_trials": 5, "n_warmup_steps": 3}
PATIENT = {"patience": 3, "wrapped": {"name": "median"}}
PRUNERS = ("median", "hyperband", "sha", "percentile", "pfl", "curve", "patient", "none")


class SpaceGrid(BruteForceSampler):
    """Every point of the search space once, in random order.

    Optuna's GridSampler identifies points by numbers that it gives to trials, and so knows neither queued trials (the
    baseline, retries) nor conditional parameters. Its BruteForceSampler looks at the parameters of the trials instead.
    """

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Leave the end of the study to the number of its trials: `Study.stop` raises under ask and tell."""


def grid_size(study: StudyFile) -> int:
    """Count the points of a search space, conditional parameters where they act only.

    Raises:
        ConfigError: A parameter has no finite number of values.
    """
    grids = {name: space.grid() for name, space in study.parameters.items()}
    endless = [name for name, grid in grids.items() if grid is None]
    if endless:
        raise ConfigError(
            f"The grid sampler needs a step (or choices) for {', '.join(endless)}: a float has no grid else."
        )
    parents = {parent for space in study.parameters.values() for parent in space.when or {}}

    def points(names: list[str], values: dict[str, Any]) -> int:
        if not names:
            return 1
        name, *rest = names
        grid = grids[name] or ()
        if not study.is_active(name, values):
            return points(rest, values)
        if name not in parents:
            return len(grid) * points(rest, values)
        return sum(points(rest, {**values, name: value}) for value in grid)

    return points(study.order(), {})


def make_sampler(component: Component, seed: int, study: StudyFile | None = None) -> optuna.samplers.BaseSampler:
    """Build a sampler.

    Args:
        component: One of `SAMPLERS`, `optuna.samplers.NAME` or `optunahub.samplers.PACKAGE.NAME` with its arguments; an
            argument `{name, kwargs}` is a sampler itself.
        seed: Used where the sampler takes one and the arguments name none.
        study: Whose space is searched; a grid needs it.

    Raises:
        ConfigError: Unknown name or argument, or a space without a grid.
    """
    cls = find_class("samplers", SHORT_SAMPLERS.get(component.name, component.name), SHORT_SAMPLERS)
    arguments = dict(component.kwargs)
    for key, value in component.kwargs.items():
        inner = nested(key, value)
        if inner is not None:
            arguments[key] = make_sampler(inner, seed, study)
    if cls.__name__ in _GRIDS:
        return _make_grid(component, arguments, seed, study)
    return build("samplers", cls, {**_preset(component, study), **arguments}, {"seed": seed})


def _preset(component: Component, study: StudyFile | None) -> dict[str, Any]:
    """Arguments that a short name sets."""
    conditional = study is not None and any(space.when for space in study.parameters.values())
    if component.name == "tpe" and study is not None and conditional and not study.multi:
        return {"multivariate": True, "group": True}  # else parameters that do not always act are drawn alone
    return dict(_PRESET_ARGUMENTS.get(component.name, {}))


def describe_sampler(component: Component, study: StudyFile) -> str:
    """Name a sampler, its class and the arguments that are not Optuna's defaults."""
    arguments = {**_preset(component, study), **component.kwargs}
    return described(component, component.sampler_class, arguments, lambda inner: describe_sampler(inner, study))


def _make_grid(component: Component, arguments: dict[str, Any], seed: int, study: StudyFile | None) -> SpaceGrid:
    if "search_space" in arguments:
        raise ConfigError(f"Sampler {component.name} takes its grid from the study's search_space: leave its own out.")
    if study is None:
        raise ConfigError(f"Sampler {component.name} needs a study file: its grid is the study's search_space.")
    size = grid_size(study)
    if study.trials > size:
        raise ConfigError(
            f"The grid of the search space has {size} points, fewer than trials {study.trials}: give {size}."
        )
    if study.trials < size:
        logger.info("the grid has %d points: %d trials try a random part of it", size, study.trials)
    return build("samplers", SpaceGrid, arguments, {"seed": seed})


def study_sampler(study: StudyFile, trials_so_far: int = 0) -> optuna.samplers.BaseSampler:
    """Build the sampler of a study file.

    Args:
        study: The study file.
        trials_so_far: The same seed again would repeat the first suggestions after a restart.

    Raises:
        ConfigError: See `make_sampler`.
    """
    return make_sampler(study.sampler, study.seed + _RESTART * trials_so_far, study)


class MinEpochsPruner(optuna.pruners.BasePruner):
    """Asks another pruner, but not before a trial has trained for some epochs.

    Args:
        wrapped: Decides from then on. (Optuna's samplers look for a bare HyperbandPruner to learn within one bracket
            only; around it they learn from all trials.)
        min_epochs: Reported epochs, the first is number 0.
    """

    def __init__(self, wrapped: optuna.pruners.BasePruner, min_epochs: int) -> None:
        self.wrapped = wrapped
        self.min_epochs = min_epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Decide on a trial."""
        step = trial.last_step
        return step is not None and step + 1 >= self.min_epochs and self.wrapped.prune(study, trial)


def _presets(epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Class and arguments of the short names, for trials of so many epochs."""
    hyperband_first = min(HYPERBAND_MIN_EPOCHS, max(1, epochs // 3))
    return {
        "median": ("MedianPruner", MEDIAN),
        "hyperband": (
            "HyperbandPruner",
            {"min_resource": hyperband_first, "max_resource": epochs, "reduction_factor": 3},
        ),
        "sha": (
            "SuccessiveHalvingPruner",
            {"min_resource": min(SHA_MIN_EPOCHS, max(1, epochs // 3)), "reduction_factor": 3},
        ),
        "percentile": ("PercentilePruner", PERCENTILE),
        "pfl": ("helpers.search.predicted_final_loss.PredictedFinalLossPruner", {}),
        "curve": ("helpers.search.curve_pruner.CurvePruner", {}),
        "patient": ("PatientPruner", PATIENT),
        "none": ("NopPruner", {}),
    }


def make_pruner(component: Component, epochs: int, min_epochs: int | None = None) -> optuna.pruners.BasePruner:
    """Build a pruner.

    Args:
        component: One of `PRUNERS`, `optuna.pruners.NAME`, `optunahub.pruners.PACKAGE.NAME` or one of ours by dotted
            name, with its arguments; an argument `{name, kwargs}` is a pruner itself (`wrapped` of a patient one).
        epochs: Of one trial; hyperband's longest budget, what a predicted final loss is predicted for.
        min_epochs: No trial is pruned before so many epochs; None leaves it to the pruner.

    Raises:
        ConfigError: Unknown name or argument.
    """
    presets = _presets(epochs)
    name, defaults = presets.get(component.name, (component.name, {}))
    cls = find_class("pruners", name, presets)
    arguments = {**defaults, **component.kwargs}
    for key, value in arguments.items():
        inner = nested(key, value)
        if inner is not None:
            arguments[key] = make_pruner(inner, epochs)
    if cls is optuna.pruners.PatientPruner and "wrapped" in arguments:
        arguments["wrapped_pruner"] = arguments.pop("wrapped")
    pruner = build("pruners", cls, arguments, {"target_epoch": epochs})
    return pruner if min_epochs is None or not component.prunes else MinEpochsPruner(pruner, min_epochs)


def study_pruner(study: StudyFile, epochs: int) -> optuna.pruners.BasePruner:
    """Build the pruner of a study file, its budget's minimum epochs kept.

    Raises:
        ConfigError: See `make_pruner`.
    """
    return make_pruner(study.pruner, epochs, study.budget.min_epochs)


def require_search(study: StudyFile, epochs: int) -> None:
    """Make sure that sampler and pruner can be used, before torch is loaded and an audit takes its minutes.

    Raises:
        ConfigError: One of them cannot be built.
    """
    study_sampler(study)
    study_pruner(study, study.epochs or epochs)


def describe_pruner(component: Component, epochs: int, min_epochs: int | None = None) -> str:
    """Name a pruner, its class and the arguments that are not Optuna's defaults; arguments as in `make_pruner`."""
    name, defaults = _presets(epochs).get(component.name, (component.name, {}))
    said = described(
        component,
        name.rpartition(".")[2],
        {**defaults, **component.kwargs},
        lambda inner: describe_pruner(inner, epochs),
    )
    return said if min_epochs is None or not component.prunes else f"{said}, from epoch {min_epochs} on"

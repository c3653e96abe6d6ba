"""Pruners by name."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial

from helpers.search.registry import build, described, find_class, nested
from helpers.search.study_config import Component, StudyFile

HYPERBAND_MIN_EPOCHS = 5
SHA_MIN_EPOCHS = 3
MEDIAN = {"n_startup_trials": 3, "n_warmup_steps": 5, "interval_steps": 1}
PERCENTILE = {"percentile": 25.0, "n_startup_trials": 5, "n_warmup_steps": 3}
PATIENT = {"patience": 3, "wrapped": {"name": "median"}}
PRUNERS = ("median", "hyperband", "sha", "percentile", "pfl", "curve", "patient", "none")


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
    found = find_class("pruners", name, presets)
    arguments = {**defaults, **component.kwargs}
    for key, value in arguments.items():
        inner = nested(key, value)
        if inner is not None:
            arguments[key] = make_pruner(inner, epochs)
    if found is optuna.pruners.PatientPruner and "wrapped" in arguments:
        arguments["wrapped_pruner"] = arguments.pop("wrapped")
    pruner = build("pruners", found, arguments, {"target_epoch": epochs})
    return pruner if min_epochs is None or not component.prunes else MinEpochsPruner(pruner, min_epochs)


def study_pruner(study: StudyFile, epochs: int) -> optuna.pruners.BasePruner:
    """Build the pruner of a study file, its budget's minimum epochs kept.

    Args:
        study: The study file.
        epochs: Of one trial.

    Raises:
        ConfigError: See `make_pruner`.
    """
    return make_pruner(study.pruner, epochs, study.budget.min_epochs)


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

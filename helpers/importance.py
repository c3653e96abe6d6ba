"""Which parameters mattered, and how sure that is.

With few trials an importance is a guess, and says so here: below `FEW_TRIALS` complete trials there is only that
statement; below `MANY_TRIALS` fANOVA is used (it names a planted parameter far more often than Optuna's default,
PED-ANOVA), which takes tens of seconds beyond that. Intervals come from resampled trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState, create_trial

from helpers.results import metric_names, signs

FEW_TRIALS = 10  # complete ones, below which nothing is said
MANY_TRIALS = 200  # complete ones, from which on PED-ANOVA does
MAX_RESAMPLES = 20  # 3 s at 30 trials, 7 s at 100 and 19 s at 199 on one busy core
INTERVAL = (5.0, 95.0)  # percentiles over the resamples


@dataclass(frozen=True)
class Importance:
    """Share of one parameter in the variance of the metric, 0 to 1."""

    parameter: str
    value: float  # over all complete trials
    low: float  # 90% interval over resampled trials; holds `value`
    high: float


@dataclass(frozen=True)
class Importances:
    """All parameters, most important first; empty when too little is known."""

    parameters: tuple[Importance, ...]
    metric: str
    trials: int  # complete ones that were used
    statement: str  # one sentence: what was done, or why nothing was

    @property
    def names(self) -> list[str]:
        """Parameters, most important first."""
        return [row.parameter for row in self.parameters]

    def rows(self) -> list[dict[str, Any]]:
        """One row per parameter, for tables."""
        return [
            {"parameter": row.parameter, "importance": row.value, "low (5%)": row.low, "high (95%)": row.high}
            for row in self.parameters
        ]


def parameter_importances(
    study: optuna.Study, resamples: int = MAX_RESAMPLES, seed: int = 0, objective: int = 0
) -> Importances:
    """Estimate the importances of a study's parameters with intervals.

    The intervals show how much depends on which trials happened to be drawn: complete trials are resampled with
    replacement, at most `MAX_RESAMPLES` times. Parameters that some complete trials lack (conditional ones) are left out
    and named.

    Args:
        study: A loaded study.
        resamples: Of the trials; capped at `MAX_RESAMPLES`.
        seed: Of resampling and of fANOVA's trees.
        objective: Which one, in a study with several.
    """
    metric = metric_names(study)[objective]
    # A pruned trial's value is that of another epoch, which would pass for an effect of its parameters.
    trials = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.values is not None]
    if len(trials) < FEW_TRIALS:
        return Importances(
            (), metric, len(trials), f"Too few trials: {len(trials)} complete, importances need {FEW_TRIALS}."
        )
    # PED-ANOVA asks what sets the best trials apart: small is made good.
    values = signs(study)[objective] * np.array([t.values[objective] for t in trials])
    space = intersection_search_space(trials)
    names = [name for name, distribution in space.items() if not distribution.single()]
    if not names or np.ptp(values) == 0:
        why = "all values are the same" if names else "no parameter was varied in all of them"
        return Importances((), metric, len(trials), f"No importances from {len(trials)} complete trials: {why}.")
    make: Callable[[], BaseImportanceEvaluator] = PedAnovaImportanceEvaluator
    method = "PED-ANOVA"
    if len(trials) < MANY_TRIALS:
        method, make = "fANOVA", lambda: FanovaImportanceEvaluator(seed=seed)
    found = _evaluate(trials, values, names, make)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(min(resamples, MAX_RESAMPLES)):
        picks = generator.integers(0, len(trials), len(trials))
        if np.ptp(values[picks]) > 0:
            drawn.append(_evaluate([trials[i] for i in picks], values[picks], names, make))
    rows = [_row(name, found[name], [one[name] for one in drawn]) for name in names]
    rows.sort(key=lambda row: (-row.value, row.parameter))
    statement = f"{method} over {len(trials)} complete trials, 90% intervals from {len(drawn)} resamples of them."
    absent = sorted({name for t in trials for name in t.params} - set(space))
    if absent:
        statement += f" Left out, since not every trial has it: {', '.join(absent)}."
    return Importances(tuple(rows), metric, len(trials), statement)


def _row(name: str, value: float, drawn: list[float]) -> Importance:
    low, high = np.percentile([*drawn, value], INTERVAL)
    return Importance(name, value, min(float(low), value), max(float(high), value))


def _evaluate(
    trials: list[FrozenTrial], values: np.ndarray, names: list[str], make: Callable[[], BaseImportanceEvaluator]
) -> dict[str, float]:
    """Importances of some trials, through a study in memory that holds them alone."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        study.add_trials(
            create_trial(
                params={name: trial.params[name] for name in names},
                distributions={name: trial.distributions[name] for name in names},
                value=float(value),
            )
            for trial, value in zip(trials, values, strict=True)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(study, evaluator=make(), params=names)
    finally:
        optuna.logging.set_verbosity(level)

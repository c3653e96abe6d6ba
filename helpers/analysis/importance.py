"""Which parameters mattered, and how sure that is.

One quantity at every number of trials: the share of the metric's variance over the searched space that each parameter explains
by itself, beside the shares of pairs and of the rest. The searched space counts, logarithms where it is logarithmic, not the
places that the sampler preferred. How well the intervals hold is measured by `python -m benchmarks.calibration.importances`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial

from helpers.analysis.comparable_trials import ComparableTrials, comparable_trials, value_label
from helpers.analysis.functional_anova import Shares, variance_shares
from helpers.analysis.scales import searched_scale
from helpers.results.ranking import metric_names

FEW_TRIALS = 4  # comparable ones, below which nothing is said
RESAMPLES = 20  # for the out-of-bag R2
TELLING = 0.2  # out-of-bag R2, below which the trials do not tell
# Percentiles of the draws. Narrower ones fall short of 90% at 12 to 30 trials (benchmarks/calibration/importances.py).
INTERVAL = (2.5, 97.5)
UNKNOWN = (0.5, 99.5)  # percentiles where the trials are fewer than parameters and pairs
RESOLUTION = 0.03  # share that the functions of a parameter leave of a jump; intervals are that much wider at each end
PAIRS = "all pairs of parameters"
REST = "rest (noise)"


@dataclass(frozen=True)
class Importance:
    """A share of the variance of the metric, 0 to 1."""

    parameter: str
    value: float
    low: float  # 90% interval; 0 where the share is one that a parameter without effect reaches
    high: float  # 1 where the trials do not tell: nothing is excluded


@dataclass(frozen=True)
class Importances:
    """All parameters, most important first; empty when too little is known."""

    parameters: tuple[Importance, ...]
    metric: str
    trials: int  # that were used
    statement: str  # what was done and how far to trust it, or why nothing was done
    pairs: Importance | None = None  # what pairs of parameters do together
    rest: Importance | None = None  # noise, and what more than two parameters do together
    level: float = 0.0  # share that a parameter without effect reaches in 1 of 20
    out_of_bag: float | None = None  # R2 of predictions for trials left out of the fit
    epoch: int | None = None  # up to which the trials are valued; None: to their end
    biased: bool = False  # too many trials failed and are missing

    @property
    def names(self) -> list[str]:
        """Parameters, most important first."""
        return [row.parameter for row in self.parameters]

    @property
    def telling(self) -> bool:
        """Whether the trials tell anything about their parameters."""
        return self.out_of_bag is not None and self.out_of_bag >= TELLING and not self.biased

    @property
    def label(self) -> str:
        """Name of the values that are explained, for an axis."""
        return value_label(self.metric, self.epoch)

    @property
    def clear(self) -> list[str]:
        """Parameters whose interval is clear of what a parameter without effect reaches."""
        return [row.parameter for row in self.parameters if self.telling and row.low > self.level]

    @property
    def shares(self) -> tuple[Importance, ...]:
        """Parameters, pairs and rest: their values sum to 1."""
        return (*self.parameters, *(row for row in (self.pairs, self.rest) if row is not None))

    def rows(self) -> list[dict[str, Any]]:
        """One row per share, for tables."""
        return [
            {"parameter": row.parameter, "importance": row.value, "low (90% interval)": row.low, "high": row.high}
            for row in self.shares
        ]


def parameter_importances(study: optuna.Study, seed: int = 0, objective: int = 0) -> Importances:
    """Estimate the importances of a study's parameters with intervals.

    Parameters that some of the trials lack (conditional ones) are left out and named.

    Args:
        study: A loaded study.
        seed: Of all draws.
        objective: Which one, in a study with several.
    """
    metric = metric_names(study)[objective]
    comparable = comparable_trials(study, objective)
    trials = comparable.trials
    values = comparable.values
    count = len(trials)
    if count < FEW_TRIALS:
        return Importances((), metric, count, f"Too few trials: {comparable.sentence}, importances need {FEW_TRIALS}.")
    everywhere = intersection_search_space(_as_complete(trials))
    space = {name: kind for name, kind in everywhere.items() if not kind.single()}
    if not space or np.ptp(values) == 0:
        why = "all values are the same" if space else "no parameter was varied in all of them"
        return Importances((), metric, count, f"No importances from {comparable.sentence}: {why}.")
    shares = _shares(
        tuple(distribution_to_json(kind) for kind in space.values()),
        tuple(tuple(trial.params[name] for trial in trials) for name in space),
        tuple(values.tolist()),
        seed,
    )
    absent = sorted({name for trial in trials for name in trial.params} - everywhere.keys())
    return _summary(shares, list(space), comparable, metric, absent)


def _as_complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Optuna's search space takes complete trials alone; pruned ones count here as well."""
    return [
        optuna.trial.create_trial(value=0.0, params=trial.params, distributions=trial.distributions) for trial in trials
    ]


@functools.lru_cache(maxsize=16)
def _shares(
    kinds: tuple[str, ...], columns: tuple[tuple[Any, ...], ...], values: tuple[float, ...], seed: int
) -> Shares:
    """Shares of the same trials are asked for by figures, report and warnings: they are computed once.

    Args:
        kinds: Distributions as JSON, since they have no hash.
        columns: Values of the parameters, one row per parameter.
        values: The metric.
        seed: Of all draws.
    """
    spaces: list[BaseDistribution] = [json_to_distribution(kind) for kind in kinds]
    scales = [searched_scale(space, column) for space, column in zip(spaces, columns, strict=True)]
    return variance_shares(scales, np.array(values), seed, RESAMPLES)


def _summary(
    shares: Shares, names: list[str], comparable: ComparableTrials, metric: str, absent: Sequence[str]
) -> Importances:
    """Means and intervals of the draws, in words and numbers."""
    telling = shares.out_of_bag >= TELLING and not comparable.biased
    # Fewer trials than parameters and pairs: what is a pair's cannot be told from the rest.
    few = len(comparable.trials) <= len(names) * (len(names) + 1) // 2
    percentiles = UNKNOWN if few else INTERVAL
    rows = []
    for name, drawn in zip(names, shares.mains.T, strict=True):
        row = _row(name, drawn, percentiles)
        # Shuffled values reach as much in 1 of 20: a share of 0 is not excluded.
        rows.append(row if row.value > shares.level else Importance(name, row.value, 0.0, row.high))
    rows.sort(key=lambda row: (-row.value, row.parameter))
    pairs = _row(PAIRS, shares.pairs, percentiles)
    rest = _row(REST, shares.rest, percentiles)
    *rows, pairs, rest = _widened([*rows, pairs, rest])
    if not telling:  # what no fit sees may be a parameter's as well: a fast oscillation looks like noise
        *rows, pairs, rest = (replace(row, low=0.0, high=1.0) for row in (*rows, pairs, rest))
    elif few:
        free = 1 - sum(row.low for row in rows)
        pairs, rest = (Importance(row.parameter, row.value, 0.0, max(row.value, free)) for row in (pairs, rest))
    elif all(row.low == 0 for row in (*rows, pairs)):
        rest = Importance(REST, rest.value, rest.low, 1.0)
    importances = Importances(
        parameters=tuple(rows),
        metric=metric,
        trials=len(comparable.trials),
        statement="",
        pairs=pairs if len(names) > 1 else None,
        rest=rest,
        level=shares.level,
        out_of_bag=shares.out_of_bag,
        epoch=comparable.epoch,
        biased=comparable.biased,
    )
    return replace(importances, statement=" ".join(_sentences(importances, comparable, absent)))


def _sentences(importances: Importances, comparable: ComparableTrials, absent: Sequence[str]) -> list[str]:
    """What was done and how far to trust it."""
    said = [f"Shares of the variance over the searched space with 90% intervals, from {comparable.sentence}."]
    if comparable.epoch is not None:
        said.append("At the end of training they may be others.")
    fit = f"out-of-bag R2 {importances.out_of_bag:.2f}"
    if comparable.biased:
        said.append(
            f"The trials do not tell which parameters matter: {comparable.missing} are missing, and what "
            "made them fail is not in these shares."
        )
    elif importances.telling:
        said.append(
            f"Predictions for trials left out: {fit}. Where intervals overlap there is no order; "
            f"{_number(importances.level)} is what a parameter without effect reaches in 1 of 20."
        )
        if not importances.clear:
            said.append("No parameter is clear of that.")
    else:
        said.append(f"The trials do not tell which parameters matter: {fit}, from {TELLING} on they would.")
    if not importances.telling:
        said.append("Every share may be anything from 0 to 1.")
    if absent:
        said.append(f"Left out, since not every trial has it: {', '.join(absent)}.")
    return said


def _widened(rows: list[Importance]) -> list[Importance]:
    """Raise upper ends by what others were given that cannot be told from 0: it may belong to any of them."""
    doubtful = sum(row.value for row in rows if row.low == 0 and row.parameter != REST)
    return [
        Importance(
            row.parameter,
            row.value,
            row.low,
            min(1.0, row.high + doubtful - (row.value if row.low == 0 and row.parameter != REST else 0.0)),
        )
        for row in rows
    ]


def _number(share: float) -> str:
    return "less than 0.01" if share < 0.01 else f"{share:.2f}"


def _row(name: str, drawn: np.ndarray, percentiles: tuple[float, float]) -> Importance:
    low, high = np.percentile(drawn, percentiles)
    value = float(drawn.mean())
    return Importance(
        name, value, min(value, max(0.0, float(low) - RESOLUTION)), max(value, min(1.0, float(high) + RESOLUTION))
    )

"""Recorded curves as something that a study can search.

A training seed is drawn per configuration and replay. A configuration with several seeds gives the curve of one of them. One
with a single seed, the first, gives its curve plus what another seed, or the first itself, gave of a repeated configuration
whose first seed reached a similar result: the whole curve of differences to the first seed, so that noise keeps its correlation
over the epochs. By their first seed configurations are chosen for repeats, so a lucky one among these is never the measure of
one that was not: given the result of the first seed, what the others give does not depend on the choice. Seeds differ most
while a curve falls, so a difference shrinks where the configuration that gets it is nearer to its best value than the one that
it comes from: else the best epoch would be one that noise made. What a configuration is worth, its `truth`, is the mean
result over the curves that it can give.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_efficiency.curves import CPU_SECONDS, Curve, Recording, read, sign_of
from gazegaussian.errors import ConfigError
from helpers.search.parameters import Categorical, Parameter, same
from helpers.search.space import StudyFile

BINS = 8  # of a numeric parameter, when its share in the variance is measured
NEAREST = 10  # repeated configurations whose differences a single-seed configuration may get
_ABSENT = np.nan  # a parameter that does not act


@dataclass(frozen=True)
class Drawn:
    """The curve that a configuration gives in one replay; in the metric's own unit."""

    values: tuple[float | None, ...]  # None where it was not finite, which ends the trial
    result: float | None  # best value; None when the training did not end well


class Table:
    """Recorded configurations in the unit cube of their search space.

    Args:
        recording: The file of curves.
        cold: Studies do not begin with the baseline, as with data for which no good configuration is known.

    Attributes:
        study: Search space, metric and direction.
        epochs: Of one training.
        sign: -1 where the metric is maximised.
        params: Of each row; the first is the baseline.
        warm_up: What starting a training costs, in epochs.
        differences: Curves of a seed less those of its configuration's first seed. [R, epochs]
        spread: Standard deviation of the result over the training seeds of a configuration.
        candidates: Curves that each row can give. [N]
        weights: Share of each parameter in the variance of the results. [D]
        truths: Mean result of each row, to be minimised; infinite where no training ended well. [N]
    """

    def __init__(self, recording: Recording, *, cold: bool = False) -> None:
        self.cold = cold
        header = recording.header
        self.header = header
        self.study: StudyFile = header.study_file
        self.epochs = header.epochs
        self.sign = sign_of(self.study)
        grouped: dict[int, list[Curve]] = {}
        for curve in recording.curves:
            grouped.setdefault(curve.index, []).append(curve)
        if 0 not in grouped:
            raise ConfigError("The recorded curves lack configuration 0, the baseline; record it first.")
        self.curves = [grouped[index] for index in sorted(grouped)]
        self.params = [curves[0].params for curves in self.curves]
        self.points = np.array([self.encode(params) for params in self.params])  # [N, D]
        self.warm_up = self._warm_up()
        repeated = [curves for curves in map(self.complete, range(len(self))) if len(curves) > 1]
        self.spread = math.sqrt(np.mean([curves.min(axis=1).var(ddof=1) for curves in repeated])) if repeated else 0.0
        self.differences, self._levels, self._excesses = self._noise()
        self.candidates = [self._possible(row) for row in range(len(self))]
        self.truths = np.array([self._truth(row) for row in range(len(self))])
        if not math.isfinite(self.truths[0]):
            raise ConfigError(
                "The baseline did not end well in any recorded training; nothing can be compared with it."
            )
        self.weights = self._weights()

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a file of recorded curves (see `curves.read` for what it raises)."""
        return cls(read(path))

    def __len__(self) -> int:
        return len(self.curves)

    def draw(self, seed: int) -> list[Drawn]:
        """Draw a training seed, or noise, for every row: the same for every method that is replayed with this seed."""
        generator = np.random.default_rng([seed, len(self)])
        return [candidates[int(generator.integers(len(candidates)))] for candidates in self.candidates]

    def regret(self, row: int) -> float:
        """Distance of a row from the best one, as a share of the baseline's distance; of the median one's, when cold."""
        best = float(self.truths.min())
        one = float(np.median(self.truths[np.isfinite(self.truths)]) if self.cold else self.truths[0])
        return float(self.truths[row] - best) / max(one - best, 1e-12)

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """Place a configuration in the unit cube. [D]"""
        spaces = self.study.parameters.items()
        return np.array([to_unit(space, params[name]) if name in params else _ABSENT for name, space in spaces])

    def nearest(self, params: Mapping[str, Any], used: Collection[int]) -> int:
        """Find the unused row nearest to a configuration, where parameters count as much as they matter.

        Args:
            params: What a sampler proposes.
            used: Rows that cannot be had any more.

        Raises:
            IndexError: Every row is used.
        """
        point = self.encode(params)
        gaps = np.nan_to_num(self.points - point)  # a parameter that acts in neither is no difference
        gaps[np.isnan(self.points) != np.isnan(point)] = 1.0
        distances = (gaps**2) @ self.weights
        distances[list(used)] = np.inf
        row = int(distances.argmin())
        if row in used:
            raise IndexError("every recorded configuration is used")
        return row

    def values(self, curve: Curve) -> list[float | None]:
        """Metric after each epoch of a training."""
        return curve.metrics.get(self.study.metrics[0], [])

    def _warm_up(self) -> float:
        """Median processor time before the first epoch over the median one of an epoch."""
        complete = [curve for curves in self.curves for curve in curves if curve.status == "complete"]
        epochs = [float(second) for curve in complete for second in curve.metrics[CPU_SECONDS] if second is not None]
        return float(np.median([curve.warm_up_cpu_seconds for curve in complete]) / np.median(epochs))

    def complete(self, row: int) -> np.ndarray:
        """Curves of a row that ended well, to be minimised. [S, epochs]"""
        complete = [self.values(curve) for curve in self.curves[row] if curve.status == "complete"]
        return self.sign * np.array(complete, dtype=float).reshape(len(complete), self.epochs)

    def _noise(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Differences of repeated configurations [R, epochs]; result [R] and `_excess` [R, epochs] of the first seed of each."""
        differences = [np.zeros((0, self.epochs))]
        excesses = [np.zeros((0, self.epochs))]
        levels: list[float] = []
        for row, recorded in enumerate(self.curves):
            curves = self.complete(row)
            if len(curves) < 2 or recorded[0].status != "complete":
                continue
            first = curves[0]
            differences.append(curves - first)
            excesses.append(np.tile(_excess(first), (len(curves), 1)))
            levels += [float(first.min())] * len(curves)
        return np.concatenate(differences), np.array(levels), np.concatenate(excesses)

    def _possible(self, row: int) -> list[Drawn]:
        """Curves that a row can give."""
        curves = self.curves[row]
        complete = self.complete(row)
        if len(curves) > 1 or not len(complete) or not len(self.differences):
            return [self._as_drawn(self.values(curve), curve.status == "complete") for curve in curves]
        gaps = np.abs(self._levels - complete.min())
        seeds = max(len(curves) for curves in self.curves)
        chosen = np.argsort(gaps, kind="stable")[: NEAREST * seeds]
        spread = max(self.spread, 1e-12)
        shares = np.minimum(1, (_excess(complete[0]) + spread) / (self._excesses[chosen] + spread))
        noisy = complete[0] + shares * self.differences[chosen]  # [S, epochs]
        return [self._as_drawn((self.sign * curve).tolist(), True) for curve in noisy]

    def _as_drawn(self, values: Sequence[float | None], complete: bool) -> Drawn:
        best = self.sign * min(self.sign * value for value in values if value is not None) if complete else None
        return Drawn(tuple(values), best)

    def _truth(self, row: int) -> float:
        results = [self.sign * drawn.result for drawn in self.candidates[row] if drawn.result is not None]
        return float(np.mean(results)) if results else math.inf

    def _weights(self) -> np.ndarray:
        """Correlation ratio of each parameter with the rank of the result: what it explains alone."""
        known = np.isfinite(self.truths)
        ranks = np.argsort(np.argsort(self.truths[known])).astype(float)
        shares = []
        for column in self.points[known].T:
            bins = np.minimum(np.nan_to_num(column, nan=-1.0) * BINS, BINS - 1).astype(int)
            means = {index: ranks[bins == index].mean() for index in np.unique(bins)}
            shares.append(np.var([means[index] for index in bins]))
        total = sum(shares)
        count = len(shares)
        return np.array(shares) / total if total > 0 else np.full(count, 1 / count)


def _excess(curve: np.ndarray) -> np.ndarray:
    """How far every epoch is from the best one, for a curve to be minimised. [epochs]."""
    return curve - curve.min()


def choice_index(space: Categorical, value: Any) -> int:
    """Find a value among the choices."""
    return next(i for i, choice in enumerate(space.choices) if same(choice, value))


def to_unit(space: Parameter, value: Any) -> float:
    """Map a value to [0, 1]; choices keep their order."""
    if isinstance(space, Categorical):
        return choice_index(space, value) / max(len(space.choices) - 1, 1)
    low, high, at = np.log([space.min, space.max, value]) if space.log else (space.min, space.max, value)
    return float((at - low) / (high - low)) if high > low else 0.0


def from_unit(space: Parameter, unit: float) -> Any:
    """Map back: the nearest value that the parameter can have."""
    unit = min(max(unit, 0.0), 1.0)
    if isinstance(space, Categorical):
        return space.choices[round(unit * (len(space.choices) - 1))]
    ends = np.log([space.min, space.max]) if space.log else np.array([space.min, space.max], dtype=float)
    at = float(ends[0] + unit * (ends[1] - ends[0]))
    value = min(max(math.exp(at) if space.log else at, space.min), space.max)
    if space.step is None:
        return value
    stepped = space.min + round((value - space.min) / space.step) * space.step
    return type(space.min)(min(stepped, space.distribution.high))

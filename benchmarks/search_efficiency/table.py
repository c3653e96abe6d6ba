"""Recorded curves as something that a study can search: which row is nearest to what a sampler proposes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_efficiency.curves import Curve, Header, read
from gazegaussian.errors import ConfigError
from helpers.parameters import Categorical, Parameter, same
from helpers.search_space import StudyFile

BINS = 8  # of a numeric parameter, when its share in the variance is measured
_ABSENT = np.nan  # a parameter that does not act


class Table:
    """Recorded configurations in the unit cube of their search space.

    Attributes:
        study: Search space, metric and direction.
        epochs: Of one configuration.
        curves: One per row; the first is the baseline.
        weights: Share of each parameter in the variance of the results. [D]
    """

    def __init__(self, header: Header, curves: list[Curve]) -> None:
        self.study: StudyFile = header.study_file
        self.stage, self.epochs = header.stage, header.epochs
        self.sign = -1.0 if self.study.directions[0] == "maximize" else 1.0
        self.curves = [curve for curve in curves if curve.values]
        if not self.curves or self.curves[0].index != 0:
            raise ConfigError("The recorded curves lack configuration 0, the baseline; record it first.")
        self.points = np.array([self.encode(curve.params) for curve in self.curves])  # [N, D]
        self.weights = self._weights()

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a file of recorded curves (see `curves.read` for what it raises)."""
        return cls(*read(path))

    def __len__(self) -> int:
        return len(self.curves)

    def result(self, row: int) -> float | None:
        """Best value of a curve, in the metric's unit; None when the configuration diverged or failed."""
        curve = self.curves[row]
        if curve.status != "complete":
            return None
        return self.sign * min(self.sign * value for value in curve.values if value is not None)

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """Place a configuration in the unit cube. [D]"""
        spaces = self.study.parameters.items()
        return np.array([_unit(space, params[name]) if name in params else _ABSENT for name, space in spaces])

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

    def _weights(self) -> np.ndarray:
        """Correlation ratio of each parameter with the rank of the result: what it explains alone."""
        results = [self.result(row) for row in range(len(self))]
        known = np.array([value is not None for value in results])
        ranks = np.argsort(np.argsort([value for value in results if value is not None])).astype(float)
        shares = []
        for column in self.points[known].T:
            bins = np.minimum(np.nan_to_num(column, nan=-1.0) * BINS, BINS - 1).astype(int)
            means = {index: ranks[bins == index].mean() for index in np.unique(bins)}
            shares.append(np.var([means[index] for index in bins]) if len(ranks) else 0.0)
        total = sum(shares)
        count = len(shares)
        return np.array(shares) / total if total > 0 else np.full(count, 1 / count)


def _unit(space: Parameter, value: Any) -> float:
    """Map a value to [0, 1]; choices keep their order."""
    if isinstance(space, Categorical):
        index = next(i for i, choice in enumerate(space.choices) if same(choice, value))
        return index / max(len(space.choices) - 1, 1)
    low, high, at = np.log([space.min, space.max, value]) if space.log else (space.min, space.max, value)
    return float((at - low) / (high - low)) if high > low else 0.0

"""Parameters on the scale that a study searches, as orthonormal functions of it.

A parameter is mapped to 0..1 so that a random search draws it evenly there: logarithms where the search is logarithmic,
places of the values where there are few of them. On that scale cosines are orthonormal, so that the squared coefficients of a
function are its variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

FUNCTIONS = 20  # of a parameter with many values: cosines up to this frequency
FEW_VALUES = 32  # up to which the values of a range are taken one by one
DECAYS = (1.5, 3.0, 5.0)  # how fast the variance falls with the frequency: with a jump, a kink, smooth


@dataclass(frozen=True)
class Scale:
    """Values of one parameter, seen through orthonormal functions of the searched scale."""

    functions: np.ndarray  # of each trial's value. [trials, functions]
    # Expected of the coefficients, a row per entry of `DECAYS`; rows sum to 1. [decays, functions]
    variances: np.ndarray


def is_ordered(space: BaseDistribution) -> bool:
    """Tell whether the values of a parameter have an order: ranges, and choices that are all numbers."""
    if not isinstance(space, CategoricalDistribution):
        return True
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in space.choices)


def numbers(space: CategoricalDistribution) -> list[float]:
    """Choices that are all numbers (see `is_ordered`), as they stand in the space."""
    return [float(choice) for choice in space.choices if isinstance(choice, int | float)]


def grid_size(space: FloatDistribution | IntDistribution) -> int | None:
    """Count the values of a range; None without steps.

    >>> grid_size(FloatDistribution(0.0, 0.3, step=0.1))
    4
    """
    return None if space.step is None else math.floor((space.high - space.low) / space.step + 1e-9) + 1


def searched_scale(space: BaseDistribution, values: Sequence[Any]) -> Scale:
    """See a parameter through functions of its searched scale.

    Args:
        space: Of the parameter, with at least two values.
        values: One per trial.
    """
    if isinstance(space, CategoricalDistribution):
        return _choices(space, values)
    assert isinstance(space, FloatDistribution | IntDistribution)
    numbers = np.array(values, dtype=float)
    count = grid_size(space)
    if space.step is not None and count is not None and count <= FEW_VALUES:
        return _table(numbers, space.low + space.step * np.arange(count), space)
    low, high = _ends(space)
    positions = ((np.log(numbers) if space.log else numbers) - low) / (high - low)
    return Scale(_cosines(np.clip(positions, 0.0, 1.0), FUNCTIONS), _variances(FUNCTIONS))


def _choices(space: CategoricalDistribution, values: Sequence[Any]) -> Scale:
    """Every choice is as likely as the others; those that are numbers stand in their order."""
    count = len(space.choices)
    rows = np.array([int(space.to_internal_repr(value)) for value in values])
    if not is_ordered(space):
        functions = _cosines((np.arange(count) + 0.5) / count, count - 1)
        # No order: equal variances, which make the same of every order of the choices.
        return Scale(functions[rows], np.full((len(DECAYS), count - 1), 1.0 / (count - 1)))
    kept = min(count - 1, FUNCTIONS)
    order = np.argsort(numbers(space))
    rank = np.empty(count, dtype=int)
    rank[order] = np.arange(count)
    return Scale(_cosines((rank[rows] + 0.5) / count, kept), _variances(kept))


def _table(numbers: np.ndarray, values: np.ndarray, space: FloatDistribution | IntDistribution) -> Scale:
    """A range of few values: functions that are orthonormal for how likely each of them is."""
    step = space.step
    assert step is not None
    edges = np.append(values - 0.5 * step, values[-1] + 0.5 * step)
    if space.log:
        edges = np.log(edges)
    shares = np.diff(edges) / (edges[-1] - edges[0])
    positions = (0.5 * (edges[1:] + edges[:-1]) - edges[0]) / (edges[-1] - edges[0])
    kept = min(len(values) - 1, FUNCTIONS)
    root = np.sqrt(shares)[:, None]
    columns = np.column_stack([np.ones(len(values)), _cosines(positions, kept)])
    orthonormal = np.linalg.qr(columns * root)[0] / root
    rows = np.abs(numbers[:, None] - values).argmin(axis=1)
    return Scale(orthonormal[rows, 1:], _variances(kept))


def _ends(space: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Ends of the searched scale; whole numbers and steps stand in the middle of theirs."""
    half = 0.5 * (space.step or 0.0)
    low = space.low - half
    high = space.high + half
    return (math.log(low), math.log(high)) if space.log else (low, high)


def _cosines(positions: np.ndarray, count: int) -> np.ndarray:
    """Cosines of 1 to `count` half periods. [N] -> [N, count]."""
    return np.sqrt(2.0) * np.cos(np.pi * np.arange(1, count + 1) * positions[:, None])


def _variances(count: int) -> np.ndarray:
    rows = np.arange(1.0, count + 1) ** -np.array(DECAYS)[:, None]
    return rows / rows.sum(axis=1, keepdims=True)

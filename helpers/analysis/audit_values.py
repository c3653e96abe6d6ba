"""Which values the audit tries of a searched parameter, and beside which values of other parameters."""

from __future__ import annotations

import math
from typing import Any

from gazegaussian.config import RunConfig
from gazegaussian.fields import parameter_fields
from helpers.search.parameters import Categorical, Float, Int, same
from helpers.search.study_config import StudyFile

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a range, on the scale on which it is searched
ALL_OF = 6  # values; so many of an int or of a float with a step are all tried


def own_value(config: RunConfig, name: str) -> Any:
    """Return a parameter's value in a run configuration."""
    section, field = parameter_fields(config)[name]
    return getattr(getattr(config, section), field)


def values_to_try(space: Categorical | Int | Float, here: Any) -> list[Any]:
    """List values of a space other than the run configuration's: every choice, of a range both ends and three between.

    The one farthest from the run configuration's comes first, of two equally far the larger: the effect of a small loss
    weight is smaller still.

    Args:
        space: What is searched.
        here: The run configuration's value.
    """
    values = [value for value in _values(space) if not same(value, here)]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in [*values, here])
    if not numbers:
        return values
    log = getattr(space, "log", False) and here > 0

    def distance(value: float) -> float:
        return round(abs(math.log(value / here)) if log else abs(value - here), 9)

    return sorted(values, key=lambda value: (distance(value), value), reverse=True)


def _values(space: Categorical | Int | Float) -> list[Any]:
    if isinstance(space, Categorical):
        return list(space.choices)
    low, high = space.corners()
    grid = space.grid()
    if grid is not None and len(grid) <= ALL_OF:
        return list(grid)
    if space.log:
        points = [low * (high / low) ** share for share in QUARTERS]
    else:
        points = [low + (high - low) * share for share in QUARTERS]
    if grid is not None:
        first = grid[0]
        step = grid[1] - grid[0]
        points = [grid[min(max(round((point - first) / step), 0), len(grid) - 1)] for point in points]
    else:
        points = [low, *points[1:-1], high]  # the ends free of rounding
    return list(dict.fromkeys(points))


def context_of(study: StudyFile, config: RunConfig, name: str) -> dict[str, Any]:
    """Values of the parents under which a conditional parameter acts, the run configuration's own where they do."""
    context: dict[str, Any] = {}
    space = study.parameters[name]
    for parent in space.when or {}:
        allowed = space.wanted(parent)
        own = own_value(config, parent)
        value = own if any(same(own, other) for other in allowed) else allowed[0]
        context |= {**context_of(study, config, parent), parent: value}
    return context


def shown(value: Any) -> str:
    """Write a value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

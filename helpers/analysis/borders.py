"""Best values on the border of what was searched, of parameters that matter.

Without the importances every study would be told to widen ranges that decide nothing: the best of some trials lies at an end
of a range of four whole numbers in half of all studies, whatever the range.
"""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from helpers.analysis.importance import parameter_importances
from helpers.analysis.scales import grid_size, is_ordered, numbers

BORDER = 0.02  # share of a range, in log scale where it has one; an end itself counts whatever the steps
FEWEST_VALUES = 3  # choices, whole numbers or steps: of two, both are ends


def borders(study: optuna.Study, trial: FrozenTrial) -> list[str]:
    """Name the parameters of a trial that matter and lie at an end of what was searched.

    A parameter matters when its importance is clear of what a parameter without effect reaches. Where pruned trials count
    with what they reached early, that is said: what matters early need not matter at the end.

    Args:
        study: The trial's, for the importances.
        trial: Usually the best one.
    """
    at_ends = {name: end for name, space in trial.distributions.items() if (end := _end(trial.params[name], space))}
    if not at_ends:
        return []
    importances = parameter_importances(study)
    judged = "" if importances.epoch is None else f", which matters up to epoch {importances.epoch}"
    return [f"{name} = {end}{judged}" for name, end in at_ends.items() if name in importances.clear]


def _end(value: Any, space: BaseDistribution) -> str:
    """Say at which end of its space a value lies; empty when at none."""
    if space.single():
        return ""
    if isinstance(space, CategoricalDistribution):
        if not is_ordered(space) or len(space.choices) < FEWEST_VALUES:
            return ""
        choices = sorted(numbers(space))
        ends = {"lower": choices[0], "upper": choices[-1]}
        end = next((name for name, choice in ends.items() if choice == float(value)), "")
        return f"{value:g} ({end} end of {', '.join(f'{choice:g}' for choice in choices)})" if end else ""
    assert isinstance(space, FloatDistribution | IntDistribution)
    count = grid_size(space)
    if count is not None and count < FEWEST_VALUES:
        return ""
    low, high, at = (math.log(number) if space.log else float(number) for number in (space.low, space.high, value))
    margin = BORDER * (high - low)
    for name, distance in (("lower", at - low), ("upper", high - at)):
        if distance <= margin:
            return f"{value:.4g} ({name} end of {space.low:g} to {space.high:g})"
    return ""

"""Which configurations are recorded: the baseline, the whole space at random, and more of its good learning rates.

A third of a log-uniform search is wasted on learning rates that train nothing. So the first configurations are drawn from
the whole space; their curves say which half-decades of the learning rate are good, and most of the others are drawn there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from benchmarks.search_efficiency.curves import DIGITS, Curve, Drawn
from gazegaussian.config import RunConfig
from helpers.search.parameters import Float
from helpers.search.space import StudyFile, baseline

FIRST = 40  # configurations from the whole space, before any from good half-decades
WHOLE_EVERY = 3  # of the later ones, every third is from the whole space
GOOD = 2  # half-decades
ENOUGH = 3  # curves of a half-decade, before it can be good
LR = "lr"

Ranges = Sequence[tuple[float, float]]


def way(index: int, study: StudyFile) -> Drawn:
    """Tell how configuration `index` is drawn. Of 150 random ones, 77 come from the whole space."""
    if index == 0:
        return "baseline"
    return "whole" if index <= FIRST or index % WHOLE_EVERY == 0 or not half_decades(study) else "good"


def draw(study: StudyFile, config: RunConfig, seed: int, index: int, good: Ranges = ()) -> dict[str, Any]:
    """Return configuration `index`, a function of its arguments, with numbers rounded as they are stored.

    Args:
        study: Search space.
        config: Whose values are the baseline.
        seed: Of the drawn configurations.
        index: Of the configuration.
        good: Half-decades of the learning rate for the configurations that are drawn from good ones.
    """
    kind = way(index, study)
    if kind == "baseline":
        return baseline(study, config)
    generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
    sampler = optuna.samplers.RandomSampler(seed=int(generator.integers(2**31)))
    drawn = study.suggest(optuna.create_study(sampler=sampler).ask())
    if kind == "good" and LR in drawn:
        drawn[LR] = _log_uniform(good, generator)
    for name, value in drawn.items():
        rounded = float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        if study.parameters[name].contains(rounded):
            drawn[name] = rounded
    return drawn


def half_decades(study: StudyFile) -> list[tuple[float, float]]:
    """Cut a logarithmic learning rate into half-decades; empty where no such parameter is searched, or two are all."""
    space = study.parameters.get(LR)
    if not isinstance(space, Float) or not space.log or space.step is not None:
        return []
    low = 2 * math.log10(space.min)
    high = 2 * math.log10(space.max)
    inner = [edge for edge in range(math.ceil(low), math.floor(high) + 1) if low + 1e-6 < edge < high - 1e-6]
    edges = [space.min, *(10 ** (edge / 2) for edge in inner), space.max]
    decades = list(itertools.pairwise(edges))
    return decades if len(decades) > GOOD else []


def good_half_decades(study: StudyFile, curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Choose the half-decades with the best median result.

    Args:
        study: Search space, metric and direction.
        curves: Of the first configurations from the whole space; those that diverged count as the worst.
    """
    results: dict[tuple[float, float], list[float]] = {piece: [] for piece in half_decades(study)}
    last = max((high for _, high in results), default=0.0)
    for curve in curves:
        for (low, high), values in results.items():
            if low <= curve.params[LR] < high or curve.params[LR] == high == last:
                values.append(curve.result(study))
    known: Mapping[tuple[float, float], float] = {
        piece: float(np.median(values)) for piece, values in results.items() if len(values) >= ENOUGH
    }
    return sorted(sorted(known, key=lambda piece: known[piece])[:GOOD])


def _log_uniform(ranges: Ranges, generator: np.random.Generator) -> float:
    """Draw from the union of some ranges, uniformly in the logarithm."""
    widths = np.array([math.log(high / low) for low, high in ranges])
    low, high = ranges[int(generator.choice(len(ranges), p=widths / widths.sum()))]
    return float(math.exp(generator.uniform(math.log(low), math.log(high))))

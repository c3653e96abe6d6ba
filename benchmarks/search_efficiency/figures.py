"""Figures of merit of many replays, each paired with the reference's replay of the same seed.

A: epochs until the mean incumbent over the seeds is as good as the reference's mean incumbent at the budget, as a share of
the epochs in which the reference gets there. E: regret at the budget. The budget is what the reference spends on its
trials, the same for all methods. Regret is 0 for the best recorded configuration and 1 for the baseline (the median
configuration, when cold), on the mean over training seeds. Intervals resample the seeds, a method's and the reference's
together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search_efficiency.replay import Replay
from helpers.analysis.shares import clopper_pearson

RESAMPLES = 2000
GRID = 0.25  # epochs between two looks at the incumbents
LEVEL = 0.95
ROUNDING = 1e-12  # of a mean regret
COLUMNS = (
    "method",
    "seeds",
    "A: epochs to the reference's incumbent, share",
    "never arrive",
    "E: regret at {budget:.0f} epochs",
    "E minus the reference's",
    "90% of the regrets are below",
    "trials in {budget:.0f} epochs",
)


@dataclass(frozen=True)
class Interval:
    """A statistic over the seeds with its 95% interval."""

    value: float
    low: float
    high: float

    def show(self, digits: int = 2) -> str:
        """Show it as `0.75 [0.65, 0.99]`."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def plain(self) -> list[float | None]:
        """For JSON, which knows no infinity."""
        return [number if math.isfinite(number) else None for number in (self.value, self.low, self.high)]


@dataclass(frozen=True)
class Figures:
    """One method."""

    method: str
    seeds: int
    share: Interval  # figure A; infinite where the mean incumbent does not arrive within the horizon
    never: Interval  # share of the seeds whose own incumbent does not arrive; interval by Clopper and Pearson
    regret: Interval  # figure E
    difference: Interval  # of E to the reference's
    tail: float  # 90% quantile of the regret over the seeds
    trials: float  # median number of trials that ended within the budget

    def cells(self) -> list[str]:
        """Show, in the order of `COLUMNS`."""
        return [
            self.method,
            str(self.seeds),
            self.share.show(),
            f"{self.never.value:.0%} [{self.never.low:.0%}, {self.never.high:.0%}]",
            self.regret.show(3),
            self.difference.show(3),
            f"{self.tail:.3f}",
            f"{self.trials:.0f}",
        ]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {name: item.plain() if isinstance(item, Interval) else item for name, item in vars(self).items()}


def budget_of(reference: Sequence[Replay], trials: int) -> float:
    """Median epochs that the reference spends on so many trials."""
    return float(np.median([one.spent(trials) for one in reference]))


def compare(
    replays: Mapping[str, Sequence[Replay]], reference: str, budget: float, horizon: float, seed: int = 0
) -> list[Figures]:
    """Put replays into figures, the best A first.

    Args:
        replays: By method, one per seed, in the same order of seeds; not every method needs all seeds.
        reference: Name of the method to compare with, which has all seeds.
        budget: Epochs at which regret is taken.
        horizon: Epochs after which a method counts as never arriving.
        seed: Of the resampling.
    """
    times = np.arange(GRID, horizon + GRID, GRID)
    at = int(np.searchsorted(times, budget))
    curves = {name: np.array([one.incumbents(times) for one in replayed]) for name, replayed in replays.items()}
    generator = np.random.default_rng(seed)
    rows = []
    for name, own in curves.items():
        count = len(own)
        paired = curves[reference][:count]
        drawn = generator.integers(0, count, (RESAMPLES, count))
        weights = np.stack([np.bincount(sample, minlength=count) for sample in drawn]) / count  # [R, n]
        weights = np.concatenate([np.full((1, count), 1 / count), weights])  # the first row is the sample itself
        # [1 + R, T]
        means = weights @ own
        goals = weights @ paired
        level = goals[:, at]
        arrived = _arrived(means, level)
        shares = times[arrived.argmax(axis=1)] / times[_arrived(goals, level).argmax(axis=1)]
        shares[~arrived.any(axis=1)] = np.inf
        never = ~_arrived(own, level[:1]).any(axis=1)
        rows.append(
            Figures(
                method=name,
                seeds=count,
                share=_interval(shares, count),
                never=_share(int(never.sum()), count),
                regret=_interval(means[:, at], count),
                difference=_interval(means[:, at] - level, count),
                tail=float(np.quantile(own[:, at], 0.9)),
                trials=float(np.median([sum(trial.spent <= budget for trial in one.trials) for one in replays[name]])),
            )
        )
    return sorted(rows, key=lambda row: (row.share.value, row.regret.value))


def markdown(rows: Sequence[Figures], budget: float) -> str:
    """Lay the rows out as a Markdown table."""
    heading = [column.format(budget=budget) for column in COLUMNS]
    lines = [heading, ["---"] * len(heading), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _arrived(curves: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Whether each curve is as good as its level, at each time. [R, T], [R] or [1] -> [R, T]."""
    return curves <= level[:, None] + ROUNDING


def _share(hits: int, of: int) -> Interval:
    return Interval(hits / of, *clopper_pearson(hits, of))


def _interval(resampled: np.ndarray, seeds: int) -> Interval:
    """Read a resampled statistic whose first entry is that of the sample itself.

    Few seeds make percentile intervals too narrow: their quantiles are moved out as Student's t is wider than the normal
    distribution (expanded percentile, Hesterberg 2015).
    """
    from scipy.stats import norm, t

    tail = float(norm.sf(math.sqrt(seeds / max(seeds - 1, 1)) * t.isf((1 - LEVEL) / 2, max(seeds - 1, 1))))
    # No mean of finite and infinite.
    low, high = np.quantile(resampled[1:], [tail, 1 - tail], method="closest_observation")
    return Interval(float(resampled[0]), float(low), float(high))

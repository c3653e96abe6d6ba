"""What many replays of each sampler and pruner amount to: medians over the seeds, with 95% intervals from resampled seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search_efficiency.replay import Replay
from helpers.analysis.shares import clopper_pearson

RESAMPLES = 2000
COLUMNS = (
    "sampler",
    "pruner",
    "best after {trials} trials",
    "epochs of them",
    "winner lost",
    "best after {budget} epochs",
    "epochs to {target:.5g}",
    "share of the reference's",
)


@dataclass(frozen=True)
class Interval:
    """A statistic over the seeds."""

    value: float
    low: float  # 95% interval
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def plain(self) -> list[float | None]:
        """For JSON, which knows no infinity."""
        return [number if math.isfinite(number) else None for number in (self.value, self.low, self.high)]


@dataclass(frozen=True)
class Row:
    """One sampler with one pruner."""

    sampler: str
    pruner: str
    seeds: int
    best: Interval  # after so many trials
    epochs: Interval  # of these trials
    lost: Interval  # share of studies in which pruning lost the best of these trials
    price: Interval  # how much better that one would have been, mean over all studies
    best_within: Interval  # after so many epochs
    until: Interval  # epochs until the target; infinite when half of the studies do not reach it
    share: Interval  # of the reference's epochs until the target

    def cells(self) -> list[str]:
        """Show, in the order of `COLUMNS`."""
        shown = (self.best, self.epochs, self.lost, self.best_within, self.until, self.share)
        return [self.sampler, self.pruner, *map(str, shown)]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {name: item.plain() if isinstance(item, Interval) else item for name, item in vars(self).items()}


def bootstrap(
    samples: Sequence[Sequence[float]],
    statistic: Callable[..., np.ndarray],
    seed: int = 0,
    resamples: int = RESAMPLES,
    paired: bool = False,
) -> Interval:
    """Measure a statistic of one or more samples and its 95% percentile interval.

    Args:
        samples: One value per seed.
        statistic: Maps arrays [..., seeds] to an array [...].
        seed: Of the resampling.
        resamples: How many.
        paired: The samples have the same seeds, which are resampled together; else each on its own.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    generator = np.random.default_rng(seed)
    if paired:
        picks = generator.integers(0, len(arrays[0]), (resamples, len(arrays[0])))
        drawn = [array[picks] for array in arrays]
    else:
        drawn = [array[generator.integers(0, len(array), (resamples, len(array)))] for array in arrays]
    with np.errstate(invalid="ignore"):  # infinite over infinite: neither reaches the target
        found = np.nan_to_num(statistic(*drawn), nan=np.inf, posinf=np.inf)
        value = float(np.nan_to_num(statistic(*arrays), nan=np.inf, posinf=np.inf))
    low, high = np.quantile(found, [0.025, 0.975], method="closest_observation")  # no mean of finite and infinite
    return Interval(value, float(low), float(high))


def median(values: np.ndarray) -> np.ndarray:
    """Take the upper median over the last axis: a value that occurred, so that half infinite is infinite."""
    count = values.shape[-1]
    return np.partition(values, count // 2, axis=-1)[..., count // 2]


def summarise(
    name: tuple[str, str],
    replays: Sequence[Replay],
    reference: Sequence[Replay],
    target: float,
    trials: int,
    budget: int,
) -> Row:
    """Put the replays of one sampler with one pruner into numbers.

    Args:
        name: Sampler and pruner.
        replays: One per seed.
        reference: Those of the sampler and pruner to compare with.
        target: Value that is to be reached.
        trials: Of a study that is counted in trials.
        budget: Of a study that is counted in epochs.
    """
    until = [one.epochs_until(target) for one in replays]
    compared = [one.epochs_until(target) for one in reference]
    prices = [one.price(trials) for one in replays]
    return Row(
        *name,
        seeds=len(replays),
        best=bootstrap([[one.best(trials) for one in replays]], median),
        epochs=bootstrap([[one.epochs(trials) for one in replays]], median),
        lost=_share(sum(price > 0 for price in prices), len(prices)),
        price=bootstrap([prices], _mean),
        best_within=bootstrap([[one.best_within(budget) for one in replays]], median),
        until=bootstrap([until], median),
        share=bootstrap(
            [until, compared],
            lambda own, other: median(own) / median(other),
            paired=len(until) == len(compared),
        ),
    )


def _share(count: int, total: int) -> Interval:
    """A share with its exact (Clopper-Pearson) interval: 0 of 60 is no certainty."""
    low, high = clopper_pearson(count, total)
    return Interval(count / total, low, high)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1)


def markdown(rows: Sequence[Row], **numbers: float) -> str:
    """Lay the rows out as a Markdown table; `numbers` fill the headings."""
    heading = [column.format(**numbers) for column in COLUMNS]
    lines = [heading, ["---"] * len(heading), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Made-up confirmations whose truth is known, and what the program says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers.analysis.confirm_report import ConfirmReport
from helpers.analysis.confirmed import BASELINE_ROW, confirmed
from helpers.analysis.paired_gain import PairedGain, Sample, paired_gain
from helpers.analysis.shares import LEVEL

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

METRIC = "val_loss"
LOSS = 10.0
RESAMPLES = 1000


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Standard normal noise."""
    return generator.normal(size=shape)


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 3 degrees of freedom, scaled to a standard deviation of one."""
    return generator.standard_t(3, size=shape) / np.sqrt(3)


def skewed(generator: np.random.Generator, shape: tuple[int, ...], sigma: float = 0.75) -> Floats:
    """Log-normal noise, its mean taken off."""
    return generator.lognormal(sigma=sigma, size=shape) - np.exp(sigma**2 / 2)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a loss; every configuration draws its own, except for `shared`.

    Attributes:
        seed: Between training seeds, the same for all people.
        person: Between people, the same for all seeds.
        rest: Of a seed and person.
        shared: Of a seed, the same for all configurations.
        draw: Its distribution.
    """

    seed: float = 1.0
    person: float = 0.0
    rest: float = 0.0
    shared: float = 2.0
    draw: Draw = normal

    def losses(self, generator: np.random.Generator, configurations: int, seeds: int, people: int) -> Floats:
        """Draw losses of equally good configurations. [configurations, seeds, people]."""
        parts = (
            self.seed * self.draw(generator, (configurations, seeds, 1)),
            self.person * self.draw(generator, (configurations, 1, people)),
            self.rest * self.draw(generator, (configurations, seeds, people)),
            self.shared * self.draw(generator, (1, seeds, 1)),
        )
        return LOSS + sum(parts, np.zeros((configurations, seeds, people)))


def report(
    losses: Floats,
    looks: int = 1,
    seen: Floats | None = None,
    failed: NDArray[np.bool_] | None = None,
    missed: NDArray[np.bool_] | None = None,
) -> ConfirmReport:
    """What `confirm` makes of measured losses.

    Args:
        losses: On test people; the first configuration is the baseline. [configurations, seeds, people]
        looks: At the results.
        seen: On the validation people. [configurations, seeds]
        failed: Trainings that failed. [configurations, seeds]
        missed: Trainings that missed a constraint. [configurations, seeds]
    """
    seeds, people = losses.shape[1:]
    rows = []
    for index, by_seed in enumerate(losses):
        gone = np.zeros(seeds, bool) if failed is None else failed[index]
        bad = np.zeros(seeds, bool) if missed is None else missed[index]
        rows.append(
            confirmed(
                name=BASELINE_ROW if index == 0 else f"trial_{index:04d}",
                trial=index,
                parameters={},
                values=[None if lost else float(row.mean()) for row, lost in zip(by_seed, gone, strict=True)],
                seen=() if seen is None else [float(value) for value in seen[index]],
                people=[None if lost else tuple(map(float, row)) for row, lost in zip(by_seed, gone, strict=True)],
                missed=[("gaze_error_deg <= 8",) if missing else () for missing in bad],
            )
        )
    names = tuple(f"subject{person:04d}.h5" for person in range(people))
    return ConfirmReport(METRIC, "minimize", tuple(range(1, seeds + 1)), tuple(rows), people=names, looks=looks)


def says_better(confirmation: ConfirmReport) -> bool:
    """Whether the headline claims a gain."""
    return confirmation.sentences[0].startswith("Better by")


def gain_of(differences: Floats, level: float = LEVEL) -> PairedGain:
    """Gain of differences. [seeds, people]."""
    rows = [tuple(map(float, -row)) for row in differences]
    zero = Sample((0.0,) * len(rows), ((0.0,) * differences.shape[1],) * len(rows))
    return paired_gain(Sample(tuple(float(np.mean(row)) for row in rows), tuple(rows)), zero, 1, level)


def covers(gain: PairedGain) -> bool:
    """Whether the interval holds zero."""
    assert gain.low is not None
    assert gain.high is not None
    return gain.low <= 0 <= gain.high


def percentile_bootstrap(generator: np.random.Generator, differences: Floats) -> tuple[float, float]:
    """The interval that `confirm` gave before: 2.5% and 97.5% of resampled means.

    Args:
        generator: Of the resampling.
        differences: One per seed. [S]
    """
    picks = generator.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def better_before(generator: np.random.Generator, values: Floats) -> bool:
    """Whether the headline claimed a gain before: the best mean of all, by the bootstrap of its own differences.

    Args:
        generator: Of the resampling.
        values: On the people that gave the headline then; the baseline first. [configurations, seeds]
    """
    best = 1 + int(np.argmin(values[1:].mean(axis=1)))
    return percentile_bootstrap(generator, values[0] - values[best])[0] > 0

"""How much better one configuration trains than another, over seeds that both got and people that both were measured on.

Notation: `d[s, p]` is the difference in favour of the configuration for seed s and test person p, `d[s]` its mean over
the people. Seeds and people are two independent random samples. The interval of the mean gain is Student's t over the
seeds; where several people were measured, the uncertainty that they add is a second half-width, added in quadrature:

    half^2 = (t[S-1] SE_seeds)^2 + (t[P-1] SE_people)^2

with SE_seeds^2 = var(d[s]) / S and SE_people^2 = var(d[p]) / P. Both hold SE_rest^2 = var(residual) / (S P), what neither seed
nor person explains. With `MANY_PEOPLE` it is taken off SE_people^2; of fewer people that may leave nothing by luck.
`docs/statistics.md` has the simulated coverage.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.analysis.shares import LEVEL, clopper_pearson

POWER = 0.8  # share of confirmations that would show the gain, of "seeds that it needs"
MOST_SEEDS = 1000
MANY_PEOPLE = 15  # test people, from which on the rest is not counted twice
LATER_LOOK = 4.0  # every later look may err so many times less often than the one before
_POWER_QUANTILE = 0.8416212335729143  # of the standard normal distribution, for POWER
_ROUNDING = 1e-12  # of the values: a smaller mean difference is none


@dataclass(frozen=True)
class Sample:
    """One configuration over seeds.

    Attributes:
        values: The metric per seed; None: the training failed.
        people: The metric per seed and test person (the value is their mean); empty: not measured by person.
        missed: Per seed, whether it missed a constraint; empty: none did.
    """

    values: tuple[float | None, ...]
    people: tuple[tuple[float, ...] | None, ...] = ()
    missed: tuple[bool, ...] = ()

    def counts(self, seed: int) -> bool:
        """Whether a seed finished and met the constraints."""
        return self.values[seed] is not None and not (seed < len(self.missed) and self.missed[seed])

    def by_person(self, seed: int) -> tuple[float, ...] | None:
        """Values of the people of one seed."""
        return self.people[seed] if seed < len(self.people) else None


@dataclass(frozen=True)
class PairedGain:
    """A configuration against the baseline; positive is in its favour.

    Attributes:
        pairs: Seeds that both finished.
        mean: Over them; None without any.
        std: Sample standard deviation of the differences between seeds; None below two.
        low: Lower end of the interval of the mean; None below two seeds, and where all differ by the same: a training that
            its seed does not reach shows no noise.
        high: Upper end.
        level: Of both intervals, corrected for candidates and looks.
        error: Standard error of the mean, over seeds and people.
        people: Test people behind every value, at least two; 0: not measured by person, or one person alone.
        people_error: Standard error that people add to that of the seeds.
        rest_error: Standard error of the rest where the people's half-width holds it, too; more seeds reduce it. Else 0.
        won: Seeds in which it was better; a seed in which only the baseline failed or missed a constraint is won.
        compared: Seeds in which at least one of both neither failed nor missed a constraint.
        won_low: Lower end of the interval of the probability to win a seed; None without a seed.
        won_high: Upper end.
        probability: That it wins the next seed: predictive t distribution of the differences, failed seeds counted as
            lost; None below two pairs.
    """

    pairs: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    level: float
    error: float | None
    people: int
    people_error: float
    rest_error: float
    won: int
    compared: int
    won_low: float | None
    won_high: float | None
    probability: float | None

    def people_half(self, level: float, seeds: float = math.inf) -> float:
        """Return the part of the half-width that people give with so many seeds; by default what no seeds reduce."""
        rest = self.rest_error * math.sqrt(self.pairs / seeds)
        return _people_half(math.hypot(self.people_error, rest), self.people, level)


def corrected_level(candidates: int = 1, looks: int = 1) -> float:
    """Level of an interval so that all of them together keep 95%.

    Candidates share the error evenly (Bonferroni). The look that was planned has all of it; every later one a quarter of
    the one before, so that all looks together err at most 4/3 as often as the first.

    Args:
        candidates: Configurations that are compared with the baseline.
        looks: How often the results were looked at, this time included.
    """
    return 1 - (1 - LEVEL) / max(candidates, 1) / LATER_LOOK ** (max(looks, 1) - 1)


def paired_gain(ours: Sample, baseline: Sample, sign: int, level: float = LEVEL) -> PairedGain:
    """Compare a configuration with the baseline seed by seed.

    Args:
        ours: Of the configuration.
        baseline: For the same seeds in the same order.
        sign: 1 where small is good, -1 where large is.
        level: Of the intervals.
    """
    both = [
        (seed, own, theirs)
        for seed, (own, theirs) in enumerate(zip(ours.values, baseline.values, strict=True))
        if own is not None and theirs is not None
    ]
    differences = [_rounded(sign * (theirs - own), own, theirs) for _, own, theirs in both]
    sound = [(ours.counts(seed), baseline.counts(seed)) for seed in range(len(ours.values))]
    given = sum(own and not theirs for own, theirs in sound)
    compared = sum(own or theirs for own, theirs in sound)
    fair = [difference for (seed, _, _), difference in zip(both, differences, strict=True) if all(sound[seed])]
    won = given + sum(difference > 0 for difference in fair)
    won_low, won_high = clopper_pearson(won, compared, level) if compared else (None, None)
    people = _by_person([(ours.by_person(seed), baseline.by_person(seed)) for seed, _, _ in both], sign)
    count = len(people[0]) if people else 0
    several = len(differences) >= 2
    mean = statistics.fmean(differences) if differences else None
    std = _spread(differences, both) if several else None
    error = half = probability = None
    people_error, rest_error = _people_errors(people) if several else (0.0, 0.0)
    if mean is not None and std is not None and (std > 0 or mean == 0):
        seeds_error = std / math.sqrt(len(differences))
        people_half = _people_half(math.hypot(people_error, rest_error), count, level)
        half = math.hypot(_quantile(level, len(differences) - 1) * seeds_error, people_half)
        error = math.hypot(seeds_error, people_error)
        wins = _predictive(mean, std, len(differences))
        probability = (given + wins * len(fair)) / compared if compared else None
    return PairedGain(
        pairs=len(both),
        mean=mean,
        std=std,
        low=None if mean is None or half is None else mean - half,
        high=None if mean is None or half is None else mean + half,
        level=level,
        error=error,
        people=count,
        people_error=people_error,
        rest_error=rest_error,
        won=won,
        compared=compared,
        won_low=won_low,
        won_high=won_high,
        probability=probability,
    )


def paired_interval(differences: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Student's t of paired differences.

    Args:
        differences: One per seed, at least two, not all the same but zero; positive when the configuration was better.
        level: Of the interval.

    Returns:
        1 - p of the one-sided test that the mean is above zero (0.5 when all differences are zero), and the interval of
        the mean.
    """
    from scipy.special import stdtr

    gain = paired_gain(Sample(tuple(-value for value in differences)), Sample((0.0,) * len(differences)), 1, level)
    if gain.mean is None or gain.low is None or gain.high is None or gain.error is None:
        raise ValueError(
            f"an interval needs at least two differences that are not all the same, not {list(differences)}"
        )
    if gain.error == 0:
        return 0.5, gain.low, gain.high
    return float(stdtr(len(differences) - 1, gain.mean / gain.error)), gain.low, gain.high


def seeds_needed(gain: PairedGain, level: float) -> int | None:
    """Count the seeds of each that would show a gain of this size at this noise in 8 of 10 confirmations.

    Args:
        gain: As measured; its mean and standard deviation are taken for the true ones.
        level: Of the interval that is to lie above zero.

    Returns:
        Seeds in all; None: more than 1000, no gain, or the people differ too much for any number of seeds.
    """
    if gain.mean is None or gain.std is None or gain.mean <= 0:
        return None
    mean = gain.mean
    std = gain.std

    def shown(seeds: int) -> bool:
        error = std / math.sqrt(seeds)
        half = math.hypot(_quantile(level, seeds - 1) * error, gain.people_half(level, seeds))
        return mean >= half + _POWER_QUANTILE * error

    enough = bisect.bisect_left(range(2, MOST_SEEDS + 1), True, key=shown) + 2
    return enough if enough <= MOST_SEEDS else None


def _by_person(
    pairs: Sequence[tuple[tuple[float, ...] | None, tuple[float, ...] | None]], sign: int
) -> list[tuple[float, ...]]:
    """Differences by seed and person; empty unless every seed has the same two people or more."""
    rows = [
        tuple(sign * (theirs - own) for own, theirs in zip(ours, baseline, strict=True))
        for ours, baseline in pairs
        if ours is not None and baseline is not None and len(ours) == len(baseline)
    ]
    whole = len(rows) == len(pairs) and len({len(row) for row in rows}) == 1
    return rows if whole and len(rows[0]) >= 2 else []


def _people_errors(rows: Sequence[tuple[float, ...]]) -> tuple[float, float]:
    """Standard errors that people add to that of seeds, and of the rest where it counts with the people, too."""
    if not rows:
        return 0.0, 0.0
    seeds = len(rows)
    people = len(rows[0])
    by_seed = [statistics.fmean(row) for row in rows]
    by_person = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    mean = statistics.fmean(by_seed)
    rest = sum(
        (value - by_seed[s] - by_person[p] + mean) ** 2 for s, row in enumerate(rows) for p, value in enumerate(row)
    )
    rest_error2 = rest / ((seeds - 1) * (people - 1)) / (seeds * people)
    error2 = statistics.variance(by_person) / people
    counted_twice = 0.0 if people >= MANY_PEOPLE else min(rest_error2, error2)
    return math.sqrt(max(error2 - rest_error2, 0.0)), math.sqrt(counted_twice)


def _people_half(error: float, people: int, level: float) -> float:
    """Half-width that people with this standard error add."""
    return _quantile(level, people - 1) * error if people else 0.0


def _predictive(mean: float, std: float, count: int) -> float:
    """Probability that the next difference is positive."""
    from scipy.special import stdtr

    return float(stdtr(count - 1, mean / (std * math.sqrt(1 + 1 / count)))) if std else 0.0  # all equal: none beats


def _quantile(level: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def _spread(differences: Sequence[float], both: Sequence[tuple[int, float, float]]) -> float:
    """Standard deviation; 0 where they differ by rounding alone."""
    std = statistics.stdev(differences)
    return 0.0 if std <= _ROUNDING * max(abs(value) for _, *pair in both for value in pair) else std


def _rounded(difference: float, own: float, theirs: float) -> float:
    """Zero where two values differ by rounding alone."""
    return 0.0 if abs(difference) <= _ROUNDING * max(abs(own), abs(theirs)) else difference

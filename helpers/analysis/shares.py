"""Exact intervals of shares, and the best of several by chance alone."""

from __future__ import annotations

import math

LEVEL = 0.95  # of every interval that names no other


def clopper_pearson(count: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share; it covers at least as often as it says, whatever the true share.

    Args:
        count: How many of them.
        total: Independent cases, at least one.
        level: Of the interval, 0 to 1.

    Returns:
        Lower and upper end, 0 to 1.
    """
    from scipy.special import betaincinv  # scipy is not needed to read a study

    tail = (1 - level) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high


def largest_count(cases: int, looked_at: int, total: int, level: float = LEVEL) -> int:
    """Upper end of the exact interval of a count in a finite population that was sampled without replacement.

    The largest count that would show `cases` or fewer of them in `looked_at` with a probability above (1 - level) / 2
    (hypergeometric).

    Args:
        cases: How many of the sample are such.
        looked_at: Size of the random sample.
        total: Size of the population.
        level: Of the two-sided interval.

    Returns:
        A count from `cases` to `total - looked_at + cases`.
    """
    count = cases
    while count < total - looked_at + cases and _at_most(cases, looked_at, total, count + 1) > (1 - level) / 2:
        count += 1
    return count


def _at_most(cases: int, looked_at: int, total: int, count: int) -> float:
    """Probability of `cases` or fewer in a sample when `count` of the population are such."""
    ways = sum(math.comb(count, k) * math.comb(total - count, looked_at - k) for k in range(cases + 1))
    return ways / math.comb(total, looked_at)


def expected_lead(count: int) -> float:
    """Expected lead of the best of so many equal trials over one more, the baseline, where a trial is ahead at all.

    Of `count` + 1 standard normal numbers the largest is E on average; it is the baseline's in one of `count` + 1 cases, so the
    baseline's is -E / `count` on average over the others, and the lead is E (1 + 1 / `count`).

    Args:
        count: At least one.

    Returns:
        In standard deviations.
    """
    return expected_best(count + 1) * (1 + 1 / count)


def expected_best(count: int) -> float:
    """Expected maximum of so many independent standard normal numbers; 0 for one.

    Args:
        count: At least one.

    Returns:
        In standard deviations.
    """
    import numpy as np
    from scipy.special import log_ndtr

    x = np.linspace(-9.0, 9.0, 4001)
    density = np.exp(-x * x / 2 + (count - 1) * log_ndtr(x)) * count / math.sqrt(2 * math.pi)  # of the maximum
    return float(np.trapezoid(x * density, x))

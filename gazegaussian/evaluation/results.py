"""What an evaluation found, and intervals for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

DEFAULT_PAIRS = 200
CONFIDENCE = 0.95
# From here on an interval of skewed values holds the true mean in 90% or more (see `over_subjects`).
FEW_SUBJECTS = 20
ROUNDING = 1e-12  # of values, relative: people that differ by less are all alike
ALIKE = "no interval: all people have the same value"


@dataclass(frozen=True)
class Measured:
    """One metric."""

    value: float | None = None  # None: not measured
    low: float | None = None  # of the 95% interval; None where there is none
    high: float | None = None
    by: str = ""  # what measured it, or why nothing could
    source: float | None = None  # the same of the source images as they are: what doing nothing gives


@dataclass(frozen=True)
class Evaluation:
    """What was measured, of what, with what."""

    checkpoint: str
    variant: str
    data: str
    data_set: str
    split: str
    subjects: int
    pairs: int
    image_size: int
    device: str
    metrics: dict[str, Measured]
    notes: tuple[str, ...]
    rows: list[dict[str, Any]] = field(repr=False)  # per pair: subject, source and target row, values
    pictures: list[tuple[Tensor, str]] = field(repr=False)  # source, target, render [3, 3, H, W], and a caption


def few_subjects(count: int) -> str | None:
    """Say what so few subjects mean for the intervals; None when there are `FEW_SUBJECTS` or more."""
    if count >= FEW_SUBJECTS:
        return None
    if count == 1:
        return (
            f"There is 1 subject: no interval for other people can be had; {FEW_SUBJECTS} subjects or more are needed."
        )
    return (
        f"There are {count} subjects: intervals are wide, and of skewed values they hold the mean of other people less often "
        f"than in 95%; {FEW_SUBJECTS} subjects or more are needed."
    )


def over_subjects(values: Sequence[float], subjects: Sequence[Any], by: str) -> Measured:
    """Average over images, with an interval for other people: Student t of the jackknife over subjects.

    A subject counts by its images: where their numbers differ this is no mean over people. Each subject is left out once with all
    the images; n subjects give n - 1 degrees of freedom. In simulation (`benchmarks.calibration`) the 95% interval held the true mean in 94 to 95% for normal values with 2 to 40 subjects of equally
    many images (93 to 96% where they have 1 to 8), and for skewed ones (log-normal, sigma 0.75) in 92, 88, 88, 89, 90, 92% with
    2, 3, 5, 10, 20, 40 subjects. A percentile bootstrap held it in 50, 73, 84, 90% with 2, 3, 5, 10 subjects of normal values.
    Where one subject has 200 images and all others 3, it is 87, 88, 90% for normal values of 5, 10, 20 subjects.

    Args:
        values: One per image.
        subjects: Whose image it is.
        by: What measured them.

    Returns:
        Mean over the images and its interval; no interval with fewer than two subjects, nor, as `by` then says, where all
        have the same value.
    """
    numbers = np.asarray(values, np.float64)
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    sums = np.bincount(owner, numbers)
    counts = np.bincount(owner)
    people = len(sums)
    mean = float(numbers.mean())
    if people < 2:
        return Measured(mean, by=by)
    half = jackknife_half((sums.sum() - sums) / (counts.sum() - counts))
    if half is None:
        return Measured(mean, by=f"{by}; {ALIKE}" if by else ALIKE)
    return Measured(mean, mean - half, mean + half, by)


def jackknife_half(without: NDArray[np.floating]) -> float | None:
    """Half the width of a 95% interval for other people: Student t of the jackknife.

    Args:
        without: The statistic with one person after the other left out, two or more. [P]

    Returns:
        None where all are the same: people that do not differ do not show how others would.

    >>> round(jackknife_half(np.array([1.0, 2.0, 3.0])), 3)
    4.969
    """
    from scipy.special import stdtrit  # half a second, which a command with a misspelt path should not take

    if np.ptp(without) <= ROUNDING * np.abs(without).max():
        return None
    people = len(without)
    error = math.sqrt((people - 1) / people * float(((without - without.mean()) ** 2).sum()))
    return error * float(stdtrit(people - 1, (1 + CONFIDENCE) / 2))

"""What an evaluation found, and intervals for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_PAIRS = 200
RESAMPLES, CONFIDENCE = 2000, 0.95
# Of 2000 sets of normal values, the "95%" interval holds the true mean in 51% with 2 subjects, 74% with 3, 85% with 5 and
# 89% with 10: a percentile bootstrap of fewer promises far more than it keeps.
FEW_SUBJECTS = 10


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
        f"There are {count} subjects: their intervals are narrower than they should be and say little about other people; "
        f"{FEW_SUBJECTS} subjects or more are needed."
    )


def over_subjects(values: Sequence[float], subjects: Sequence[Any], by: str, seed: int = 0) -> Measured:
    """Average over images, with an interval for other people: subjects are drawn again with all their images.

    Args:
        values: One per image.
        subjects: Whose image it is.
        by: What measured them.
        seed: Of the resampling.

    Returns:
        Mean and the middle 95% of the resampled means (Efron 1979); no interval with fewer than two subjects.
    """
    numbers = np.asarray(values, np.float64)
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    sums, counts = np.bincount(owner, numbers), np.bincount(owner)
    if len(sums) < 2:
        return Measured(float(numbers.mean()), by=by)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Measured(float(numbers.mean()), float(low), float(high), by)

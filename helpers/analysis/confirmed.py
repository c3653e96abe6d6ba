"""One configuration trained with several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helpers.analysis.paired_gain import PairedGain, Sample, paired_gain

BASELINE_ROW = "baseline"  # name of the configuration that all others are compared with


@dataclass(frozen=True)
class Confirmed:
    """One configuration over all seeds; differences are in favour of it when positive, and taken seed by seed."""

    name: str
    trial: int | None
    is_baseline: bool
    parameters: dict[str, Any]
    values: tuple[float | None, ...]  # per seed, on test people where they were measured; None failed
    mean: float | None
    std: float | None  # sample standard deviation
    gain: PairedGain  # against the baseline
    seen: tuple[float | None, ...] = ()  # per seed, on the validation people
    people: tuple[tuple[float, ...] | None, ...] = ()  # per seed and test person
    missed: tuple[tuple[str, ...], ...] = ()  # constraints that were missed, per seed

    @property
    def failed(self) -> int:
        """Seeds whose training failed."""
        return sum(value is None for value in self.values)

    @property
    def infeasible(self) -> int:
        """Seeds that missed a constraint."""
        return sum(bool(names) for names in self.missed)

    @property
    def unsound(self) -> int:
        """Seeds that failed or missed a constraint."""
        missed = self.missed or ((),) * len(self.values)
        return sum(value is None or bool(names) for value, names in zip(self.values, missed, strict=True))

    @property
    def sample(self) -> Sample:
        """What the comparison needs of it."""
        return Sample(self.values, self.people, tuple(bool(names) for names in self.missed))


def confirmed(
    name: str,
    trial: int | None,
    parameters: dict[str, Any],
    values: Sequence[float | None],
    seen: Sequence[float | None] = (),
    people: Sequence[Sequence[float] | None] = (),
    missed: Sequence[Sequence[str]] = (),
) -> Confirmed:
    """One configuration; its gain is filled in by the report, which knows the baseline and the other candidates."""
    sound = tuple(None if value is None or not math.isfinite(value) else float(value) for value in values)
    finished = [value for value in sound if value is not None]
    return Confirmed(
        name=name,
        trial=trial,
        is_baseline=name == BASELINE_ROW,
        parameters=parameters,
        values=sound,
        mean=statistics.fmean(finished) if finished else None,
        std=statistics.stdev(finished) if len(finished) >= 2 else None,
        gain=paired_gain(Sample(sound), Sample(sound), 1),
        seen=tuple(seen),
        people=tuple(None if own is None else tuple(own) for own in people),
        missed=tuple(tuple(names) for names in missed),
    )

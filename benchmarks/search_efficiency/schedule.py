"""Which trainings a recording consists of, and in which order a process does its share.

First pass: every configuration with the training seed of the run configuration. Second pass, when the first is complete: two
more training seeds for the baseline, the best configurations and some random ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search_efficiency.curves import Recording

SEEDS_EACH = 3  # trainings of a configuration that is repeated

Key = tuple[int, int]  # configuration and training seed


@dataclass(frozen=True)
class Plan:
    """The size of a recording.

    Attributes:
        count: Configurations, the baseline among them.
        best: How many of the best are repeated.
        random: How many of the others are repeated.
        training_seed: Of the first pass; the second uses the next ones.
    """

    count: int
    best: int
    random: int
    training_seed: int

    @property
    def trainings(self) -> int:
        """Trainings of both passes, when no configuration fails."""
        repeated = min(1 + self.best + self.random, self.count)
        return self.count + (SEEDS_EACH - 1) * repeated

    def first_pass(self) -> list[Key]:
        """Every configuration once."""
        return [(index, self.training_seed) for index in range(self.count)]

    def second_pass(self, recording: Recording) -> list[Key]:
        """The repeats, configuration by configuration, those of the best first.

        Args:
            recording: With the whole first pass.
        """
        seeds = range(self.training_seed + 1, self.training_seed + SEEDS_EACH)
        return [(index, seed) for index in self._repeated(recording) for seed in seeds]

    def _repeated(self, recording: Recording) -> list[int]:
        study = recording.header.study_file
        results = {
            curve.index: curve.result(study)
            for curve in recording.curves
            if curve.seed == self.training_seed and curve.status == "complete" and curve.index < self.count
        }
        ranked = sorted((index for index in results if index > 0), key=lambda index: results[index])
        best = ranked[: self.best]
        others = sorted(ranked[self.best :])
        generator = np.random.default_rng(recording.header.seed)
        drawn = generator.permutation(others).tolist()
        # With another number of best ones the draw is another; what was repeated already counts first.
        repeated = {curve.index for curve in recording.curves if curve.seed != self.training_seed}
        chosen = set(sorted(drawn, key=lambda index: index not in repeated)[: self.random])
        return [0, *best, *(index for index in drawn if index in chosen)]


def outstanding(keys: Sequence[Key], done: set[Key], part: int, parts: int) -> Key | None:
    """Return what a process trains next: its own share in order, then what the others have not reached, from the end.

    Args:
        keys: Of one pass.
        done: Recorded trainings.
        part: Of this process, from 0.
        parts: How many processes there are.
    """
    own = next((key for key in keys[part::parts] if key not in done), None)
    return own if own is not None else next((key for key in reversed(keys) if key not in done), None)


def duration(seconds: float) -> str:
    """Show a time that is left: `3 h 20 min`, `12 min`."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

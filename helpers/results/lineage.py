"""Which trial continues which: a resumed trial is a new one that inherits from its predecessors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import optuna
from optuna.trial import FrozenTrial

from helpers.results.attributes import RESUME_OF


def ancestors(trials: list[FrozenTrial], trial: FrozenTrial | optuna.Trial) -> Iterator[FrozenTrial]:
    """Yield the trials that a trial continues, the latest first.

    Args:
        trials: All of the study, by number.
        trial: One of them.
    """
    number = trial.user_attrs.get(RESUME_OF)
    while number is not None:
        before = trials[number]
        yield before
        number = before.user_attrs.get(RESUME_OF)


def successors(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """Numbers of the interrupted trials, each with that of the trial that goes on from it."""
    return {trial.user_attrs[RESUME_OF]: trial.number for trial in trials if RESUME_OF in trial.user_attrs}

"""What a study has spent, and when that is enough.

Epochs and seconds are summed over all trials of the study, those of earlier calls and other workers too. Limits are looked
at after every epoch: of several workers each may finish the epoch that it is in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from helpers.limits import Budget
from helpers.ownership import EPOCHS, INHERITED, SECONDS, ancestors
from helpers.stopping import STOPPED, is_stop_asked


class LimitReached(Exception):
    """The study may spend no more; the trial that was at work goes on in a later call."""


@dataclass(frozen=True)
class Spent:
    """Paid for so far."""

    epochs: int = 0
    seconds: float = 0.0


def spent(study: optuna.Study) -> Spent:
    """Add up all trials; what a trial took over from an interrupted one is counted there."""
    trials = study.get_trials(deepcopy=False)
    before = [trial.user_attrs.get(INHERITED, {"epochs": 0, "seconds": 0.0}) for trial in trials]
    # A trial killed while it took over knows what it inherits, but has not yet got it: hence at least 0.
    epochs = [max(0, epochs_of(trial) - old["epochs"]) for trial, old in zip(trials, before, strict=True)]
    seconds = [
        max(0.0, trial.user_attrs.get(SECONDS, 0.0) - old["seconds"]) for trial, old in zip(trials, before, strict=True)
    ]
    return Spent(sum(epochs), sum(seconds))


def spent_before(trials: list[FrozenTrial], trial: optuna.Trial) -> Spent:
    """What the interrupted trials that one continues have spent together.

    Args:
        trials: All of the study, by number.
        trial: The one that goes on.
    """
    # Each counts what it took over; the latest may have been killed before it had told so.
    before = list(ancestors(trials, trial))
    epochs = max((epochs_of(old) for old in before), default=0)
    return Spent(epochs, max((old.user_attrs.get(SECONDS, 0.0) for old in before), default=0.0))


def epochs_of(trial: FrozenTrial) -> int:
    """Count the epochs that a trial has trained, those that it took over included."""
    return len(trial.intermediate_values) or trial.user_attrs.get(EPOCHS, 0)


class BudgetWatch:
    """The limits of one call, and whether somebody asks it to stop.

    Args:
        budget: Of the study file.
        timeout: Seconds from now, instead of the budget's.
        folder: Of the study, where `stop` asks.
    """

    def __init__(self, budget: Budget, timeout: float | None = None, folder: Path | None = None) -> None:
        self._budget, self._folder = budget, folder
        self._timeout = budget.timeout if timeout is None else timeout
        self._started = time.monotonic()

    def reached(self, study: optuna.Study) -> str | None:
        """Say which limit is reached, None when there is some of everything left."""
        if self._folder is not None and is_stop_asked(self._folder):
            return STOPPED
        if self._timeout is not None and time.monotonic() - self._started >= self._timeout:
            return f"timeout of {self._timeout:g} s reached"
        epochs, seconds = self._budget.max_total_epochs, self._budget.max_compute
        if epochs is None and seconds is None:
            return None
        paid = spent(study)
        if epochs is not None and paid.epochs >= epochs:
            return f"budget max_total_epochs {epochs} reached"
        if seconds is not None and paid.seconds >= seconds:
            return f"budget max_compute {seconds:g} s reached"
        return None

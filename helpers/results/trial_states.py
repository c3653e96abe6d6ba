"""States of trials, which trial resumes which, and the epochs and seconds that they took.

A trial that another one resumes was interrupted and did not fail. Optuna knows no such state: its storage has FAIL there.
Epochs and seconds are counted here alone, for budgets, forecasts and reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from helpers.results.attributes import EPOCHS, FINGERPRINT, INHERITED, RESUME_OF, SECONDS
from helpers.results.run_files import METRICS, read_curves, trial_dir

INTERRUPTED = "INTERRUPTED"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # what `trials` of a study counts


def count_finished(study: optuna.Study) -> int:
    """Count the complete and pruned trials."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def is_created(study: optuna.Study) -> bool:
    """Tell whether a study has trials that new ones must be comparable with."""
    return FINGERPRINT in study.user_attrs and bool(study.get_trials(deepcopy=False))


def state_name(trial: FrozenTrial, resumed: Mapping[int, int]) -> str:
    """Name of a trial's state.

    Args:
        trial: Of a study.
        resumed: `successors` of the study's trials.
    """
    return INTERRUPTED if trial.state == TrialState.FAIL and trial.number in resumed else trial.state.name


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
    """Numbers of the interrupted trials, each with that of the trial that resumes it."""
    return {trial.user_attrs[RESUME_OF]: trial.number for trial in trials if RESUME_OF in trial.user_attrs}


@dataclass(frozen=True)
class Usage:
    """Epochs trained and the seconds they took."""

    epochs: int = 0
    seconds: float = 0.0


def epochs_of(trial: FrozenTrial, folder: Path | None = None) -> int:
    """Count the epochs that a trial has trained, those that it inherited included.

    Args:
        trial: Of a study.
        folder: The study's folder, when it was moved since the study ran. The curves there count where nothing was reported:
            with several objectives, or when an interruption came between the first epoch's saving and its report.
    """
    counted: int = len(trial.intermediate_values) or trial.user_attrs.get(EPOCHS, 0)
    return counted or max(map(len, _curves(trial, folder).values()), default=0)


def seconds_of(trial: FrozenTrial, folder: Path | None = None) -> float:
    """Seconds of a trial, those that it inherited included; 0.0 where they were not measured."""
    return trial.user_attrs.get(SECONDS) or sum(_curves(trial, folder).get("seconds", []))


def seconds_per_epoch(trial: FrozenTrial, folder: Path) -> float | None:
    """Mean seconds of an epoch; None where they were not measured."""
    measured = _curves(trial, folder).get("seconds")
    if measured:
        return sum(measured) / len(measured)
    total = seconds_of(trial)
    trained = epochs_of(trial, folder)
    return total / trained if total and trained else None


def total_usage(trials: list[FrozenTrial], folder: Path | None = None) -> Usage:
    """Add up trials; what one inherited from an interrupted one is counted there.

    Args:
        trials: All of a study, by number.
        folder: Of the study, see `epochs_of`.
    """
    epochs = 0
    seconds = 0.0
    for trial in trials:
        before = _inherited(trials, trial, folder)
        # A trial killed while it was resumed knows what it inherits, but has not yet got it: hence at least 0.
        epochs += max(0, epochs_of(trial, folder) - before.epochs)
        seconds += max(0.0, seconds_of(trial, folder) - before.seconds)
    return Usage(epochs, seconds)


def _inherited(trials: list[FrozenTrial], trial: FrozenTrial, folder: Path | None) -> Usage:
    if INHERITED in trial.user_attrs:
        return Usage(**trial.user_attrs[INHERITED])
    old = next(ancestors(trials, trial), None)  # what was inherited is not stored yet, or never was (earlier versions)
    return Usage() if old is None else Usage(epochs_of(old, folder), seconds_of(old, folder))


def usage_before(trials: list[FrozenTrial], trial: optuna.Trial, folder: Path | None = None) -> Usage:
    """What the interrupted trials that a trial continues have used together.

    Args:
        trials: All of the study, by number.
        trial: The one that resumes.
        folder: Of the study, see `epochs_of`.
    """
    # Each counts what it inherited; the latest may have been killed before it could store that.
    before = list(ancestors(trials, trial))
    epochs = max((epochs_of(old, folder) for old in before), default=0)
    return Usage(epochs, max((seconds_of(old, folder) for old in before), default=0.0))


def _curves(trial: FrozenTrial, folder: Path | None) -> dict[str, list[float]]:
    try:
        run_dir = trial_dir(trial, folder)
        return read_curves(run_dir / METRICS) if run_dir is not None and (run_dir / METRICS).is_file() else {}
    except OSError:  # a mounted folder has gone: who writes there says so
        return {}

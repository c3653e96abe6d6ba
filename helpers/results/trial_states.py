"""What states of trials people read: a trial that another one resumes was interrupted, and did not fail.

Optuna knows no such state, so that its storage has FAIL there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from helpers.results.attributes import RESUME_OF

INTERRUPTED = "INTERRUPTED"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # what `trials` of a study counts


def count_finished(study: optuna.Study) -> int:
    """Count the complete and pruned trials."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def state_name(trial: FrozenTrial, continued: Mapping[int, int]) -> str:
    """Name of a trial's state.

    Args:
        trial: Of a study.
        continued: `successors` of the study's trials.
    """
    return INTERRUPTED if trial.state == TrialState.FAIL and trial.number in continued else trial.state.name


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

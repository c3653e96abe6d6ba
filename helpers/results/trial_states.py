"""What states of trials people read: a trial that another one goes on from was interrupted, and did not fail.

Optuna knows no such state, so that its storage has FAIL there.
"""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

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

"""How many epochs a study will train: what its trials have shown so far, else what its pruner is able to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import UserError
from gazegaussian.utils.counts import counted
from helpers.results.lookup import study_in_memory
from helpers.results.trial_states import FINISHED, epochs_of, total_usage
from helpers.search.samplers_and_pruners import study_pruner
from helpers.storage.backends import open_storage

if TYPE_CHECKING:
    from helpers.study.spec import StudySpec

ASSUMED_SHARE = 0.5  # of the trials, as long as nothing was measured
ENOUGH_TRIALS = 5  # finished ones, for a measured share
# of the simulation; several, since Hyperband draws a bracket per trial
_GOOD_TRIALS = 30
_HOPELESS_TRIALS = 6


@dataclass(frozen=True)
class EpochForecast:
    """Trials still to run and their epochs."""

    trials: int
    epochs_expected: float
    epochs_most: int
    assumption: str  # one sentence


def expected_epochs(spec: StudySpec, epochs: int) -> EpochForecast:
    """Say how many epochs are to be expected, and why.

    Args:
        spec: The study; its storage is read, and not made.
        epochs: Per trial that is not pruned.
    """
    study = spec.study
    trials_so_far = _trials(spec)
    finished = [trial for trial in trials_so_far if trial.state in FINISHED]
    trials = max(0, study.trials - len(finished))
    share, length, why = _pruned(spec, finished, epochs)
    expected = trials * ((1 - share) * epochs + share * length)
    most = trials * epochs
    cap = study.budget.max_total_epochs
    if cap is not None:
        left = max(0, cap - total_usage(trials_so_far, spec.folder).epochs)
        expected = min(expected, left)
        most = min(most, left)
        why += f"; the budget allows {counted(left, 'epoch')} more"
    return EpochForecast(trials, expected, most, why)


def _pruned(spec: StudySpec, finished: list[FrozenTrial], epochs: int) -> tuple[float, float, str]:
    """Share of pruned trials, their mean number of epochs, and where both come from."""
    study = spec.study
    if study.multi:
        return 0.0, epochs, "no pruning: there are several objectives"
    pruned = [epochs_of(trial) for trial in finished if trial.state == TrialState.PRUNED]
    if len(finished) >= ENOUGH_TRIALS:
        share = len(pruned) / len(finished)
        length = sum(pruned) / max(len(pruned), 1)
        after = f", after {length:.1f} epochs on average" if pruned else ""
        return (
            share,
            length,
            f"{share:.0%} of the trials are pruned{after}, as measured on {len(finished)} finished ones",
        )
    earliest = earliest_pruned_epoch(spec, epochs)
    if earliest is None:
        return (
            0.0,
            epochs,
            f"no pruning: pruner {study.pruner.name!r} cannot act in {counted(study.trials, 'trial')} of "
            f"{counted(epochs, 'epoch')}",
        )
    return (
        ASSUMED_SHARE,
        earliest,
        f"{ASSUMED_SHARE:.0%} of the trials are taken to be pruned after epoch {earliest}, the first that pruner "
        f"{study.pruner.name!r} allows; measured when the study has {ENOUGH_TRIALS} finished trials",
    )


def earliest_pruned_epoch(spec: StudySpec, epochs: int) -> int | None:
    """Simulate the study's pruner on made-up curves: after how many epochs does it prune a hopeless trial?

    Asking the pruner itself holds for every pruner, wrapped or not, whatever it calls its warm-up.

    Returns:
        Epochs trained by then; None when it never does.
    """
    study_file = spec.study
    study = study_in_memory(
        study_name=study_file.study_name,
        direction=study_file.directions[0],
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=study_pruner(study_file, epochs),
    )
    sign = 1 if study_file.directions[0] == "minimize" else -1
    for number in range(min(study_file.trials - 1, _GOOD_TRIALS)):
        _play(study, [sign * (1 + 0.01 * number + math.exp(-epoch / 3)) for epoch in range(epochs)])
    hopeless = [_play(study, [sign * (100 + epoch) for epoch in range(epochs)]) for _ in range(_HOPELESS_TRIALS)]
    return min((length for length in hopeless if length is not None), default=None)


def _play(study: optuna.Study, curve: list[float]) -> int | None:
    """Run one invented trial; returns the epochs after which it was pruned."""
    trial = study.ask()
    for epoch, value in enumerate(curve):
        trial.report(value, epoch)
        if trial.should_prune() and epoch + 1 < len(curve):  # asked as studies ask
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1
    study.tell(trial, curve[-1])
    return None


def _trials(spec: StudySpec) -> list[FrozenTrial]:
    """Trials of the study, none when it was not created or cannot be read."""
    try:
        storage = open_storage(spec.storage, spec.folder, must_exist=True)
        return optuna.load_study(study_name=spec.study.study_name, storage=storage).get_trials(deepcopy=False)
    except (KeyError, UserError):
        return []

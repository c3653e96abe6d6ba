"""Trials whose values can be compared: those trained to the end, or all that reached a common epoch.

A pruner stops trials because of their values. Where it stopped many, the complete ones are the good ones, and what they
tell of the parameters is wrong: the bad part of the space is missing. All trials are then valued at one epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from helpers.results.lookup import study_in_memory
from helpers.results.ranking import signs
from helpers.results.trial_states import successors

ENOUGH = 0.8  # share of the trials that suffices: of complete ones, or of those that reached an epoch


@dataclass(frozen=True)
class ComparableTrials:
    """Trials with one value each, in the order of their numbers."""

    trials: tuple[FrozenTrial, ...]
    values: np.ndarray  # of one objective. [trials]
    epoch: int | None  # up to which the values are the best, counted from 1; None: the values of the whole trials
    complete: int  # of them
    left_out: int  # finished trials that did not get so far or have no value

    @property
    def pruned(self) -> int:
        """Pruned trials among them."""
        return len(self.trials) - self.complete

    @property
    def sentence(self) -> str:
        """How many trials, of what kind, and how they are valued."""
        if self.epoch is None:
            used = f"{len(self.trials)} complete trials"
            left = f" ({self.left_out} pruned ones left out)" if self.left_out else ""
            return f"{used}{left}"
        left = f"; {self.left_out} left out that ended before" if self.left_out else ""
        return (
            f"{len(self.trials)} trials ({self.complete} complete, {self.pruned} pruned), each valued at its best up to "
            f"epoch {self.epoch}{left}"
        )

    def label(self, metric: str) -> str:
        """Name of the values, for an axis."""
        return metric if self.epoch is None else f"{metric}, best up to epoch {self.epoch}"


def comparable_trials(study: optuna.Study, objective: int = 0) -> ComparableTrials:
    """Choose the trials of a study that can be compared, and value them.

    Complete trials alone when they are 4 of 5 of all that ended by themselves or by the pruner. If not, all trials that
    reached the last epoch that 4 of 5 of them reached, each with its best value up to there.

    Args:
        study: A loaded study.
        objective: Which one; with several there is no pruning, and values are those of complete trials.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    resumed = successors(study.get_trials(deepcopy=False))
    trials = [trial for trial in trials if trial.number not in resumed]
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.values is not None]
    pruned = [t for t in trials if t.state == TrialState.PRUNED and _finite(t)] if len(study.directions) == 1 else []
    stopped = sum(t.state == TrialState.PRUNED for t in trials)
    if not pruned or len(complete) >= ENOUGH * (len(complete) + len(pruned)):
        values = np.array([t.values[objective] for t in complete], dtype=float)
        return ComparableTrials(tuple(complete), values, None, len(complete), stopped)
    reached = sorted((max(_finite(t)) + 1 for t in pruned), reverse=True)
    wanted = math.ceil(ENOUGH * (len(complete) + len(pruned))) - len(complete)
    epoch = reached[wanted - 1]
    sign = signs(study)[0]
    used = list[FrozenTrial]()
    best_values = list[float]()
    for trial in sorted([*complete, *pruned], key=lambda t: t.number):
        value = _best_until(trial, epoch, sign)
        if value is not None:
            used.append(trial)
            best_values.append(value)
    whole = sum(t.state == TrialState.COMPLETE for t in used)
    return ComparableTrials(tuple(used), np.array(best_values), epoch, whole, len(complete) + stopped - len(used))


def _finite(trial: FrozenTrial) -> Mapping[int, float]:
    return {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}


def _best_until(trial: FrozenTrial, epoch: int, sign: float) -> float | None:
    """Best value of the first epochs; None for a pruned trial that did not get there and for one without values.

    Args:
        trial: Complete (it may have stopped early by itself) or pruned.
        epoch: Number of epochs.
        sign: 1 where small values are good, -1 where large ones are.
    """
    reported = _finite(trial)
    known = [value for at, value in reported.items() if at < epoch]
    short = trial.state == TrialState.PRUNED and max(reported, default=-1) + 1 < epoch
    return None if short or not known else sign * min(sign * value for value in known)


def as_study(study: optuna.Study, comparable: ComparableTrials) -> optuna.Study:
    """Copy a study with the comparable values, for figures that take complete trials only.

    Args:
        study: With one objective where `comparable` has an epoch.
        comparable: Of its trials.

    Returns:
        The study itself where its own values are compared; if not, one in memory with the same numbers of trials, in
        which trials that cannot be compared have failed.
    """
    if comparable.epoch is None:
        return study
    values = {trial.number: float(value) for trial, value in zip(comparable.trials, comparable.values, strict=True)}
    copy = study_in_memory(study_name=study.study_name, direction=study.direction)
    for trial in study.get_trials(deepcopy=False):
        value = values.get(trial.number)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        copy.add_trial(create_trial(state=state, value=value, params=trial.params, distributions=trial.distributions))
    return copy

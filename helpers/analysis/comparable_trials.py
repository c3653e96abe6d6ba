"""Trials whose values can be compared: those trained to the end, or all that reached a common epoch.

A pruner stops trials because of their values, and trials that diverge fail because of theirs. Where many ended so, the
complete ones are the good ones, and what they tell of the parameters is wrong: the bad part of the space is missing. All
trials are then valued at one epoch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from helpers.results.lookup import study_in_memory
from helpers.results.ranking import signs
from helpers.results.trial_states import successors

_WORDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
ENOUGH = 0.8  # share of the trials that suffices: of complete ones, or of those that reached an epoch


@dataclass(frozen=True)
class ComparableTrials:
    """Trials with one value each, in the order of their numbers."""

    trials: tuple[FrozenTrial, ...]
    values: np.ndarray  # of one objective. [trials]
    epoch: int | None  # up to which the values are the best, counted from 1; None: the values of the whole trials
    pruned_left_out: int = 0  # that did not get so far or have no value
    failed_left_out: int = 0
    infinite_left_out: int = 0  # complete ones without a finite value

    def count(self, state: TrialState) -> int:
        """How many of them ended in a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def biased(self) -> bool:
        """Whether so many failed and infinite ones are missing that the others may be the good part of the space."""
        missing = self.failed_left_out + self.infinite_left_out
        return missing > (1 - ENOUGH) * (len(self.trials) + missing)

    @property
    def missing(self) -> str:
        """What is missing because it failed or diverged; empty where nothing is."""
        failed = f"{self.failed_left_out} failed ones" if self.failed_left_out else ""
        return " and ".join(filter(None, (failed, self._infinite)))

    @property
    def _infinite(self) -> str:
        return f"{self.infinite_left_out} of infinite value" if self.infinite_left_out else ""

    @property
    def sentence(self) -> str:
        """How many trials, of what kind, and how they are valued."""
        missing = {"pruned": self.pruned_left_out, "failed": self.failed_left_out}
        left = " and ".join(f"{count} {kind}" for kind, count in missing.items() if count)
        infinite = f"{self._infinite} left out" if self._infinite else ""
        if self.epoch is None:
            remarks = ", ".join(filter(None, (f"{left} ones left out" if left else "", infinite)))
            return f"{len(self.trials)} complete trials" + (f" ({remarks})" if remarks else "")
        kinds = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        used = ", ".join(f"{self.count(kind)} {_WORDS[kind]}" for kind in kinds if self.count(kind))
        before = f"; {left} left out that ended before" if left else ""
        after = f"; {infinite}" if infinite else ""
        return f"{len(self.trials)} trials ({used}), each valued at its best up to epoch {self.epoch}{before}{after}"

    def label(self, metric: str) -> str:
        """Name of the values, for an axis."""
        return value_label(metric, self.epoch)


def value_label(metric: str, epoch: int | None) -> str:
    """Name the values of trials: the metric, and up to which epoch it is the best, if not to the end."""
    return metric if epoch is None else f"{metric}, best up to epoch {epoch}"


def comparable_trials(study: optuna.Study, objective: int = 0) -> ComparableTrials:
    """Choose the trials of a study that can be compared, and value them.

    Complete trials alone when they are 4 of 5 of all that reported a value. If not, all trials that reached the last epoch
    that 4 of 5 of them reached, each with its best value up to there. A complete trial of infinite value is no better known
    than a failed one: it counts with what it reported.

    Args:
        study: A loaded study.
        objective: Which one; with several there is no pruning, and values are those of complete trials.
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    resumed = successors(study.get_trials(deepcopy=False))
    trials = sorted((trial for trial in ended if trial.number not in resumed), key=lambda trial: trial.number)
    complete = [t for t in trials if _has_value(t, objective)]
    stopped = [t for t in trials if not _has_value(t, objective) and _finite(t)] if len(study.directions) == 1 else []
    wanted = math.ceil(ENOUGH * (len(complete) + len(stopped))) - len(complete)
    if wanted <= 0:
        values = [t.values[objective] for t in complete]
        return _comparable(trials, complete, values, None, objective)
    epoch = sorted((max(_finite(t)) + 1 for t in stopped), reverse=True)[wanted - 1]
    sign = signs(study)[0]
    known = {t.number: _best_until(t, epoch, sign) for t in (*complete, *stopped)}
    used = [t for t in trials if known.get(t.number) is not None]
    return _comparable(trials, used, [known[t.number] for t in used], epoch, objective)


def _comparable(
    ended: Sequence[FrozenTrial],
    used: Sequence[FrozenTrial],
    values: Sequence[float | None],
    epoch: int | None,
    objective: int,
) -> ComparableTrials:
    kept = {trial.number for trial in used}
    left = [trial for trial in ended if trial.number not in kept]
    states = Counter(trial.state for trial in left)
    infinite = sum(trial.state == TrialState.COMPLETE and not _has_value(trial, objective) for trial in left)
    pruned, failed = states[TrialState.PRUNED], states[TrialState.FAIL]
    return ComparableTrials(tuple(used), np.array(values, dtype=float), epoch, pruned, failed, infinite)


def _has_value(trial: FrozenTrial, objective: int) -> bool:
    """Whether a trial is complete with a finite value."""
    known = trial.state == TrialState.COMPLETE and trial.values is not None
    return known and math.isfinite(trial.values[objective])


def _finite(trial: FrozenTrial) -> Mapping[int, float]:
    return {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}


def _best_until(trial: FrozenTrial, epoch: int, sign: float) -> float | None:
    """Best value of the first epochs; None for a trial that was stopped before and for one without values.

    Args:
        trial: Complete (it may have stopped early by itself), pruned or failed.
        epoch: Number of epochs.
        sign: 1 where small values are good, -1 where large ones are.
    """
    reported = _finite(trial)
    known = [value for at, value in reported.items() if at < epoch]
    short = trial.state != TrialState.COMPLETE and max(reported, default=-1) + 1 < epoch
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

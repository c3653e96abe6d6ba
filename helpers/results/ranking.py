"""Order of trials: direction, constraints, best trial, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from helpers.results.attributes import BASELINE
from helpers.results.trial_states import FINISHED


def signs(study: optuna.Study) -> list[int]:
    """Per objective 1 where small is good and -1 where large is."""
    return [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in study.directions]


def metric_names(study: optuna.Study) -> list[str]:
    """Names of the objectives, in the study's order."""
    stored = study.user_attrs.get("metric", "value")
    return list(stored) if isinstance(stored, list) else [stored] * len(study.directions)


def is_feasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial meets all constraints (it does when there are none)."""
    return all(violation <= 0 for violation in trial.constraints.values())


def objective_key(study: optuna.Study, trial: FrozenTrial) -> tuple[float, ...]:
    """What trials are compared by: per objective the best value reached, small is good; infinite when there is none."""
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        return tuple(sign * value for sign, value in zip(signs(study), trial.values, strict=True))
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        return (min(signs(study)[0] * value for value in trial.intermediate_values.values()),)
    return (math.inf,)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best complete trial that meets the constraints, or None while there is none.

    >>> best = helpers.best_trial(helpers.load_study(Path("optuna_results/digits")))
    >>> sorted(best.params)
    ['batch_size', 'depth', 'dropout', 'label_smoothing', 'lr', 'width']
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if is_feasible(trial)]
    return min(feasible, key=lambda t: (objective_key(study, t), t.number), default=None)


def baseline_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the run configuration's values, or None when it failed or is still to come."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return next((t for t in complete if t.user_attrs.get(BASELINE)), None)  # an interrupted one comes again


def ranked_trials(study: optuna.Study, states: Sequence[TrialState] = FINISHED) -> list[FrozenTrial]:
    """Trials of some states that have a value, best first."""
    trials = [
        t for t in study.get_trials(deepcopy=False, states=tuple(states)) if objective_key(study, t)[0] != math.inf
    ]
    return sorted(trials, key=lambda t: (not is_feasible(t), objective_key(study, t), t.number))


def pareto_front(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that no other one dominates, best first."""
    return sorted(study.best_trials, key=lambda t: (objective_key(study, t), t.number))

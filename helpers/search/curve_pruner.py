"""A pruner that compares what a trial still promises with what a new trial promises.

The final value is regressed on the value after e epochs, over the finished trials of this study. The spread of that regression
says how much epoch e tells. A trial is pruned when the improvement that it promises per remaining epoch is a small share
of the improvement that a new trial promises per epoch. An epoch that tells nothing leaves the promise of a trial as it
was and its price lower, so it prunes nothing. No warm-up has to be named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_FEWEST = 3  # finished trials; a line and its spread have three parameters
_PRIOR_SLOPE = 0.5  # of the final value over the present one
_PRIOR_TRIALS = 2.0  # what the prior is worth, in finished trials
_TINY = 1e-300
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Prediction:
    """A final value, to be minimised."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Finished:
    """A finished trial, to be minimised."""

    curve: Mapping[int, float]  # value by step
    final: float
    feasible: bool


def predict_final(step: int, seen: Mapping[int, float], finished: Sequence[Finished]) -> Prediction | None:
    """Predict the final value of a trial by ridge regression on the finished trials.

    Args:
        step: The trial's last one.
        seen: Values of the trial by step, to be minimised.
        finished: Trials of the same study. Those that never reached `step` tell nothing about it.

    Returns:
        The prediction, None with fewer than three finished trials.

    >>> finished = [Finished({0: x + 1.0}, x, True) for x in (0.1, 0.2, 0.3, 0.4)]
    >>> round(predict_final(0, {0: 1.25}, finished).mean, 3)
    0.25
    """
    pairs = [(trial.curve[step], trial.final) for trial in finished if step in trial.curve]
    if len(pairs) < _FEWEST:
        return None
    present, final = np.array(pairs).T  # [N], [N]
    count = len(pairs)
    offsets = present - present.mean()
    sum_squares = float(offsets @ offsets)
    ridge = _PRIOR_TRIALS * sum_squares / count + _TINY
    slope = (float(offsets @ (final - final.mean())) + _PRIOR_SLOPE * ridge) / (sum_squares + ridge)
    residuals = final - final.mean() - slope * offsets
    prior_variance = _PRIOR_SLOPE**2 * float(final.var())
    variance = (float(residuals @ residuals) + _PRIOR_TRIALS * prior_variance) / (count + _PRIOR_TRIALS - 2)
    offset = seen[step] - float(present.mean())
    leverage = offset**2 / (sum_squares + ridge)
    mean = min(float(final.mean()) + slope * offset, min(seen.values()))  # a trial returns its best epoch
    return Prediction(mean, variance * (1 + 1 / count + leverage))


def expected_improvement(best: float, prediction: Prediction) -> float:
    """Expected improvement of a normally distributed value on the best one.

    >>> round(expected_improvement(0.0, Prediction(0.0, 1.0)), 4)
    0.3989
    """
    gain = best - prediction.mean
    spread = math.sqrt(prediction.variance)
    if spread == 0.0:
        return max(gain, 0.0)
    return gain * _NORMAL.cdf(gain / spread) + spread * _NORMAL.pdf(gain / spread)


class CurvePruner(optuna.pruners.BasePruner):
    """Prunes a trial that promises less improvement per remaining epoch than a new trial does per epoch.

    What a new trial promises follows from mean and spread of the finished trials. The best value is that of the best
    finished trial that meets the constraints; while there is none, nothing is pruned. Everything is computed from
    the study at each call, so that a resumed study and its other workers decide alike.

    Args:
        target_epoch: Epochs of a whole trial.
        startup_trials: Finished trials before anything is pruned.
        share: A trial is pruned below this share of a new trial's promise per epoch. A smaller share prunes less.
    """

    def __init__(self, target_epoch: int, startup_trials: int = 4, share: float = 0.25) -> None:
        if target_epoch < 1:
            raise ValueError(f"target_epoch must be at least 1, not {target_epoch}")
        if startup_trials < _FEWEST:
            raise ValueError(f"startup_trials must be at least {_FEWEST}, not {startup_trials}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share}")
        self.target_epoch = target_epoch
        self.startup_trials = startup_trials
        self.share = share

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Decide on a trial after its last reported epoch."""
        step = trial.last_step
        if step is None or step + 1 >= self.target_epoch:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        finished = _finished(study, sign)
        best = min((other.final for other in finished if other.feasible), default=math.inf)
        seen = _curve(trial, sign)
        if len(finished) < self.startup_trials or step not in seen or min(seen.values()) <= best or math.isinf(best):
            return False
        prediction = predict_final(step, seen, finished)
        if prediction is None:
            return False
        finals = np.array([other.final for other in finished])
        new = Prediction(float(finals.mean()), float(finals.var(ddof=1)) * (1 + 1 / len(finals)))
        remaining = self.target_epoch - step - 1
        promised = expected_improvement(best, prediction) / remaining
        return promised <= self.share * expected_improvement(best, new) / self.target_epoch


def _finished(study: optuna.Study, sign: float) -> list[Finished]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Finished(_curve(trial, sign), sign * trial.value, all(bound <= 0 for bound in trial.constraints.values()))
        for trial in trials
        if trial.value is not None and math.isfinite(trial.value)
    ]


def _curve(trial: FrozenTrial, sign: float) -> dict[int, float]:
    return {step: sign * value for step, value in trial.intermediate_values.items() if math.isfinite(value)}

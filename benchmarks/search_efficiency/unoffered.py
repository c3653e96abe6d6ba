"""Pruners and a sampler that the program does not offer: the limit, and what was tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, PercentilePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr

from benchmarks.search_efficiency.replay import RecordedSampler
from benchmarks.search_efficiency.table import Drawn, Table, from_unit


class OraclePruner(BasePruner):
    """Knows how every trial ends and stops after its first epoch what will not be the best."""

    def __init__(self, table: Table, drawn: list[Drawn], chosen: RecordedSampler) -> None:
        self.sign = table.sign
        self.drawn = drawn
        self.chosen = chosen

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Look into the future."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        result = self.drawn[self.chosen.rows[trial.number]].result
        best = min((self.sign * other.value for other in complete if other.value is not None), default=np.inf)
        return result is None or self.sign * result >= best


class WaitingPruner(BasePruner):
    """Percentile pruner that waits out the epochs in which the study's own finished curves still cross.

    Args:
        epochs: Of a whole trial.
        percentile: Of the trials that go on.
        startup: Finished trials before anything is pruned.
        agreement: Rank correlation with the final value from which an epoch is trusted.
    """

    def __init__(self, epochs: int, percentile: float = 50.0, startup: int = 4, agreement: float = 0.7) -> None:
        self.epochs = epochs
        self.percentile = percentile
        self.startup = startup
        self.agreement = agreement

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Decide from the first epoch on that ranks as the end does."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < self.startup:
            return False
        trusted = self.epochs - 1
        for step in reversed(range(self.epochs - 1)):
            pairs = [
                (other.intermediate_values[step], other.value)
                for other in complete
                if step in other.intermediate_values
            ]
            if len(pairs) < self.startup or not spearmanr(*np.array(pairs).T).statistic >= self.agreement:
                break
            trusted = step
        return PercentilePruner(self.percentile, self.startup, trusted).prune(study, trial)


class StartNearBaseline(BaseSampler):
    """TPE whose start-up trials are every other time a random step away from the baseline.

    Args:
        table: Its first row is the baseline.
        seed: Of everything.
        startup: Trials before TPE proposes.
        step: Standard deviation of a step in the unit cube.
    """

    def __init__(self, table: Table, seed: int, startup: int = 10, step: float = 0.15) -> None:
        self.table = table
        self.startup = startup
        self.step = step
        self.generator = np.random.default_rng(seed)
        self.random = RandomSampler(seed=seed)
        self.tpe = TPESampler(seed=seed, n_startup_trials=startup)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Pass it on."""
        return self.tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Step away from the baseline, draw at random, or ask TPE."""
        if trial.number > self.startup:
            return self.tpe.sample_relative(study, trial, search_space)
        if trial.number % 2 == 0:
            return {}
        steps = self.table.points[0] + self.generator.normal(scale=self.step, size=self.table.points.shape[1])
        spaces = self.table.study.parameters
        return {
            name: from_unit(space, float(at))
            for (name, space), at in zip(spaces.items(), steps, strict=True)
            if np.isfinite(at)
        }

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw at random while starting up."""
        sampler = self.random if trial.number <= self.startup else self.tpe
        return sampler.sample_independent(study, trial, param_name, param_distribution)

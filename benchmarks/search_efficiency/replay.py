"""Studies that search among recorded curves: the product's samplers and pruners, no training.

A sampler may propose anything; what is tried is the nearest recorded configuration that was not tried before, and the
sampler is told the parameters of that one. So every trial has parameters and a curve that belong together, as measured:
looked up for the proposal itself, a curve would be credited to parameters that never made it, and a model fitted to the
table instead would smooth away the noise that pruners have to live with. The price: proposals are rounded to the
table's density, which blunts samplers that learn more than random search; differences between samplers come out too
small rather than too large. Near is measured with parameters weighted by what they explain (`Table.weights`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from benchmarks.search_efficiency.table import Table
from helpers.pruning import make_pruner
from helpers.sampling import make_sampler
from helpers.study_file import Component


@dataclass(frozen=True)
class Trial:
    """One configuration as a study saw it."""

    row: int
    epochs: int  # trained
    value: float | None  # of a complete trial
    pruned: bool = False


@dataclass(frozen=True)
class Replay:
    """A study in the order in which its trials ended."""

    table: Table
    trials: tuple[Trial, ...]

    def epochs(self, count: int) -> int:
        """Epochs of the first `count` trials."""
        return sum(trial.epochs for trial in self.trials[:count])

    def best(self, count: int) -> float:
        """Best value of the complete ones among the first `count` trials; infinitely bad when there is none."""
        return self._best([trial.value for trial in self.trials[:count]])

    def best_within(self, epochs: int) -> float:
        """Best value found by the time that so many epochs were trained."""
        spent = np.cumsum([trial.epochs for trial in self.trials])
        return self.best(int(np.searchsorted(spent, epochs, side="right")))

    def epochs_until(self, target: float) -> float:
        """Epochs until a complete trial is as good as `target`; infinite when none is."""
        spent = 0
        for trial in self.trials:
            spent += trial.epochs
            if trial.value is not None and self.table.sign * (trial.value - target) <= 0:
                return float(spent)
        return math.inf

    def price(self, count: int) -> float:
        """How much better the best of the first `count` trials would have been without pruning, never negative."""
        unpruned = self._best([self.table.result(trial.row) for trial in self.trials[:count]])
        return self.table.sign * (self.best(count) - unpruned) if math.isfinite(unpruned) else 0.0

    def _best(self, values: list[float | None]) -> float:
        sign = self.table.sign
        return sign * min([sign * value for value in values if value is not None], default=math.inf)


class RecordedSampler(BaseSampler):
    """Lets another sampler propose and returns the nearest unused recorded configuration; the baseline comes first.

    Attributes:
        rows: The row of each trial, by trial number.
    """

    def __init__(self, table: Table, proposer: BaseSampler) -> None:
        self.table, self.proposer, self.rows = table, proposer, list[int]()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Everything is decided at once."""
        return {name: space.distribution for name, space in self.table.study.parameters.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose, and take what is nearest."""
        row = self.table.nearest(self._propose(study, trial), self.rows) if self.rows else 0
        self.rows.append(row)
        return self.table.curves[row].params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: a recorded configuration holds all parameters that act in it."""
        raise RuntimeError(f"recorded configuration {self.rows[-1]} lacks {param_name}")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass it on."""
        self.proposer.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Pass it on."""
        self.proposer.after_trial(study, trial, state, values)

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        space, values = self.table.study, dict[str, Any]()
        together = self.proposer.infer_relative_search_space(study, trial)
        relative = self.proposer.sample_relative(study, trial, together)
        for name in space.order():
            if not space.is_active(name, values):
                continue
            if name in relative:
                values[name] = relative[name]
            else:
                distribution = space.parameters[name].distribution
                values[name] = self.proposer.sample_independent(study, trial, name, distribution)
        return values


def replay(table: Table, sampler: Component, pruner: Component, seed: int, trials: int, budget: int) -> Replay:
    """Run one study on the table.

    Args:
        table: Recorded curves.
        sampler: By the product's names.
        pruner: By the product's names.
        seed: Of the sampler; in the study's name, so that Hyperband's brackets are drawn anew.
        trials: Finished trials at least.
        budget: Epochs at least, as long as the table has rows left.

    Raises:
        ConfigError: No such sampler or pruner.
    """
    chosen = RecordedSampler(table, make_sampler(sampler, seed, table.study))
    study = optuna.create_study(
        study_name=f"{table.study.study_name}_{seed}",
        direction=table.study.directions[0],
        sampler=chosen,
        pruner=make_pruner(pruner, table.epochs),
    )
    done: list[Trial] = []
    while len(done) < len(table) and (len(done) < trials or sum(trial.epochs for trial in done) < budget):
        done.append(_play(study, table, chosen))
    return Replay(table, tuple(done))


def _play(study: optuna.Study, table: Table, sampler: RecordedSampler) -> Trial:
    trial = study.ask()
    table.study.suggest(trial)  # Optuna asks the sampler no earlier
    row = sampler.rows[trial.number]
    curve = table.curves[row]
    for epoch, value in enumerate(curve.values):
        if value is None:  # a study fails a trial before the sampler sees such a value
            study.tell(trial, state=TrialState.FAIL)
            return Trial(row, epoch + 1, None)
        trial.report(value, epoch)
        if trial.should_prune() and epoch + 1 < len(curve.values):  # asked as studies ask
            study.tell(trial, state=TrialState.PRUNED)
            return Trial(row, epoch + 1, None, pruned=True)
    result = table.result(row)
    if result is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, result)
    return Trial(row, len(curve.values), result)


def best_after_one_epoch(table: Table, keep: int, seed: int, trials: int, budget: int) -> Replay:
    """Draw at random, train all for one epoch and only the best of them to the end; again while there is budget.

    Args:
        table: Recorded curves.
        keep: How many are trained to the end.
        seed: Of the order; the baseline comes first.
        trials: Of one round.
        budget: Epochs at least, as long as the table has rows left.
    """
    order = [0, *(1 + np.random.default_rng(seed).permutation(len(table) - 1))]
    done: list[Trial] = []
    while order and sum(trial.epochs for trial in done) < budget:
        drawn, order = [int(row) for row in order[:trials]], order[trials:]
        alive = [row for row in drawn if table.curves[row].values[0] is not None]
        first = {row: table.sign * float(table.curves[row].values[0] or 0.0) for row in alive}
        kept = sorted(alive, key=lambda row: first[row])[:keep]
        # In the order of the epochs: the first ones of all, then those of the kept.
        done += [Trial(row, 1, None, pruned=row in alive) for row in drawn if row not in kept]
        done += [Trial(row, len(table.curves[row].values), table.result(row)) for row in kept]
    return Replay(table, tuple(done))

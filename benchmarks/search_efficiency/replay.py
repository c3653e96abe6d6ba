"""Studies that search among recorded curves: the program's samplers and pruners, no training.

A sampler may propose anything. What is tried is the nearest recorded configuration that was not tried before, and the
sampler is told the parameters of that one. So every trial has parameters and a curve that belong together, as measured.
The price: proposals are rounded to the table's density, which blunts samplers that learn more than random search.
Differences between samplers come out too small rather than too large.

Time is counted in epochs that were paid for, the warm-up of every trial included, over all workers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from benchmarks.search_efficiency.table import Drawn, Table


@dataclass(frozen=True)
class WorkerExit:
    """A trial as a study saw it."""

    row: int
    epochs: int  # trained
    value: float | None  # of a complete trial
    spent: float  # epochs paid for by all workers when it ended
    pruned: bool = False


@dataclass(frozen=True)
class Replay:
    """A study in the order in which its trials ended."""

    table: Table
    trials: tuple[WorkerExit, ...]

    def spent(self, count: int) -> float:
        """Epochs paid for when `count` trials had ended."""
        return self.trials[min(count, len(self.trials)) - 1].spent

    def incumbents(self, times: np.ndarray) -> np.ndarray:
        """Regret of the configuration that the study would name as its best, at each time.

        The study chooses by the values that it saw, the regret is that of the mean over training seeds. Before the first
        complete trial it is the regret of the worst row that ended well. [T]
        """
        truths = self.table.truths
        worst = int(np.argmax(np.where(np.isfinite(truths), truths, -np.inf)))
        regrets = np.full(len(times), self.table.regret(worst))
        best = np.inf
        for trial in self.trials:
            if trial.value is not None and self.table.sign * trial.value < best:
                best = self.table.sign * trial.value
                regrets[times >= trial.spent] = self.table.regret(trial.row)
        return regrets


class RecordedSampler(BaseSampler):
    """Lets another sampler propose and returns the nearest unused recorded configuration; the baseline first, unless cold.

    Attributes:
        rows: The row of each trial, by trial number.
    """

    def __init__(self, table: Table, proposer: BaseSampler) -> None:
        self.table = table
        self.proposer = proposer
        self.rows: dict[int, int] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Everything is decided at once."""
        return {name: space.distribution for name, space in self.table.study.parameters.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose, and take what is nearest."""
        used = self.rows.values()
        baseline = not self.rows and not self.table.cold
        self.rows[trial.number] = 0 if baseline else self.table.nearest(self._propose(study, trial), used)
        return self.table.params[self.rows[trial.number]]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: a recorded configuration holds all parameters that act in it."""
        raise RuntimeError(f"recorded configuration {self.rows[trial.number]} lacks {param_name}")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass it on."""
        self.proposer.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Pass it on."""
        self.proposer.after_trial(study, trial, state, values)

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        space = self.table.study
        values: dict[str, Any] = {}
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


@dataclass(order=True)
class _Running:
    """A trial at work; the next one to end an epoch comes first."""

    time: float  # of the end of its epoch, epochs since the study began
    worker: int
    trial: optuna.Trial = field(compare=False)
    row: int = field(compare=False)
    drawn: Drawn = field(compare=False)
    epoch: int = field(compare=False, default=0)


MakeSampler = Callable[[Table, int], BaseSampler]
MakePruner = Callable[[Table, list[Drawn], RecordedSampler], BasePruner]


def replay(
    table: Table,
    sampler: MakeSampler,
    pruner: MakePruner,
    seed: int,
    horizon: float,
    workers: int = 1,
    prior: list[FrozenTrial] | None = None,
) -> Replay:
    """Run one study on the table.

    Args:
        table: Recorded curves.
        sampler: Makes the sampler that proposes.
        pruner: Makes the pruner.
        seed: Of the sampler and of the noise; in the study's name, so that Hyperband's brackets are drawn anew.
        horizon: Epochs to pay for; no trial begins later. It ends earlier when every row is used.
        workers: Trials side by side. The sampler sees those that run.
        prior: Finished trials that the study is given.
    """
    drawn = table.draw(seed)
    chosen = RecordedSampler(table, sampler(table, seed))
    study = optuna.create_study(
        study_name=f"{table.study.study_name}_{seed}",
        direction=table.study.directions[0],
        sampler=chosen,
        pruner=pruner(table, drawn, chosen),
    )
    study.add_trials(prior or [])
    done: list[WorkerExit] = []
    running: list[_Running] = []

    def start(time: float, worker: int) -> None:
        if time * workers >= horizon or len(chosen.rows) >= len(table):
            return
        trial = study.ask()
        table.study.suggest(trial)  # Optuna asks the sampler no earlier
        row = chosen.rows[trial.number]
        heapq.heappush(running, _Running(time + table.warm_up + 1, worker, trial, row, drawn[row]))

    for worker in range(workers):
        start(0.0, worker)
    while running:
        one = heapq.heappop(running)
        ended = _epoch(study, one, workers)
        if ended is None:
            heapq.heappush(running, one)
        else:
            done.append(ended)
            start(one.time, one.worker)
    return Replay(table, tuple(done))


def _epoch(study: optuna.Study, one: _Running, workers: int) -> WorkerExit | None:
    """End an epoch of a trial: report it and decide. None when the trial goes on, one epoch later."""
    values = one.drawn.values
    value = values[one.epoch] if one.epoch < len(values) else None
    one.epoch += 1
    spent = one.time * workers
    if value is None:  # a study fails a trial before the sampler sees such a value
        study.tell(one.trial, state=TrialState.FAIL)
        return WorkerExit(one.row, one.epoch, None, spent)
    one.trial.report(value, one.epoch - 1)
    if one.trial.should_prune() and one.epoch < len(values):  # asked as studies ask
        study.tell(one.trial, state=TrialState.PRUNED)
        return WorkerExit(one.row, one.epoch, None, spent, pruned=True)
    if one.epoch < len(values):
        one.time += 1.0
        return None
    if one.drawn.result is None:
        study.tell(one.trial, state=TrialState.FAIL)
    else:
        study.tell(one.trial, one.drawn.result)
    return WorkerExit(one.row, one.epoch, one.drawn.result, spent)

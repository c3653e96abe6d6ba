"""Synchronous successive halving in batches, which also promotes what is within a margin of the cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from benchmarks.search_efficiency.replay import RecordedSampler, Replay, WorkerExit
from benchmarks.search_efficiency.table import Table


@dataclass(frozen=True)
class BatchedHalving:
    """Trains a batch for a few epochs, the better half for twice as many, and so on.

    Paused trials continue from their checkpoint without another warm-up.

    Attributes:
        batch: Trials of a round.
        margin: Part of the spread (interquartile range) of a rung by which a trial may miss the cut.
        first: Epochs of the first rung; each further rung has twice as many.
    """

    batch: int = 8
    margin: float = 0.25
    first: int = 1

    def __call__(self, table: Table, seed: int, horizon: float, workers: int) -> Replay:
        """Replay rounds until the horizon. Workers share a round evenly."""
        rounds = _Rounds(table, seed)
        while rounds.spent < horizon and len(rounds.chosen.rows) + self.batch <= len(table):
            alive = rounds.start(self.batch)
            reached = 0
            rung = self.first
            while alive:
                seen = rounds.train(alive, reached, min(rung, table.epochs))
                reached = rung
                rung *= 2
                if alive:
                    rounds.prune(alive, self._dropped(seen), reached)
        return Replay(table, tuple(rounds.done))

    def _dropped(self, seen: Mapping[int, float]) -> list[int]:
        values = np.array(sorted(seen.values()))
        cut = values[(len(values) - 1) // 2]
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
        return [number for number, value in seen.items() if value > cut + self.margin * spread]


class _Rounds:
    """A study whose trials are trained in steps.

    Attributes:
        chosen: Which row each trial is.
        spent: Epochs that were paid for.
        done: Trials that ended.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.drawn = table.draw(seed)
        self.chosen = RecordedSampler(table, TPESampler(seed=seed))
        self.study = optuna.create_study(direction=table.study.directions[0], sampler=self.chosen)
        self.spent = 0.0
        self.done: list[WorkerExit] = []

    def start(self, count: int) -> dict[int, optuna.Trial]:
        """Ask for trials; all of them before any of them reports."""
        trials = [self.study.ask() for _ in range(count)]
        for trial in trials:
            self.table.study.suggest(trial)
        self.spent += count * self.table.warm_up
        return {trial.number: trial for trial in trials}

    def train(self, alive: dict[int, optuna.Trial], reached: int, end: int) -> dict[int, float]:
        """Train from one epoch to another; those that fail or are complete leave `alive`.

        Returns:
            Best value so far of those that go on, to be minimised.
        """
        seen: dict[int, float] = {}
        for number, trial in list(alive.items()):
            self.spent += end - reached
            drawn = self.drawn[self.chosen.rows[number]]
            known = [value for value in drawn.values[:end] if value is not None]
            for epoch in range(reached, len(known)):
                trial.report(known[epoch], epoch)
            if len(known) == end < self.table.epochs:
                seen[number] = min(self.table.sign * value for value in known)
                continue
            del alive[number]
            failed = len(known) < end or drawn.result is None
            self.study.tell(trial, None if failed else drawn.result, TrialState.FAIL if failed else None)
            self._end(number, end, None if failed else drawn.result)
        return seen

    def prune(self, alive: dict[int, optuna.Trial], numbers: list[int], reached: int) -> None:
        """Give trials up."""
        for number in numbers:
            self.study.tell(alive.pop(number), state=TrialState.PRUNED)
            self._end(number, reached, None, pruned=True)

    def _end(self, number: int, epochs: int, value: float | None, pruned: bool = False) -> None:
        self.done.append(WorkerExit(self.chosen.rows[number], epochs, value, self.spent, pruned))

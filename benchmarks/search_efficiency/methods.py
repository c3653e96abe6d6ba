"""What is compared: the program's samplers and pruners by name, and methods that it does not offer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, PercentilePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import spearmanr

from benchmarks.search_efficiency.replay import Ended, RecordedSampler, Replay, replay
from benchmarks.search_efficiency.table import Drawn, Table, from_unit
from helpers.pruning import make_pruner
from helpers.sampling import make_sampler
from helpers.study_file import Component

Play = Callable[[Table, int, float, int], Replay]  # table, seed, horizon in epochs, workers

REFERENCE = "tpe, median (3, 5)"
UNPRUNED = "tpe, none"
ORACLE = "tpe, oracle"
_MEDIAN_32 = {"n_startup_trials": 3, "n_warmup_steps": 2}


def of_components(sampler: Component, pruner: Component) -> Play:
    """Replay a sampler and a pruner by the program's names."""

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        return replay(
            table,
            lambda table, seed: make_sampler(sampler, seed, table.study),
            lambda table, drawn, chosen: make_pruner(pruner, table.epochs),
            seed,
            horizon,
            workers,
        )

    return play


def _named(sampler: str | dict[str, Any], pruner: str | dict[str, Any]) -> Play:
    return of_components(Component.model_validate(sampler), Component.model_validate(pruner))


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


@dataclass(frozen=True)
class BatchedHalving:
    """Synchronous successive halving in batches, which also promotes what is within a margin of the cut.

    Paused trials continue from their checkpoint without another warm-up.

    Attributes:
        batch: Trials of a round.
        margin: Part of the spread (interquartile range) of a rung by which a trial may miss the cut.
        first: Epochs of the first rung; each further rung has twice as many, and half of the trials.
    """

    batch: int = 8
    margin: float = 0.25
    first: int = 1

    def __call__(self, table: Table, seed: int, horizon: float, workers: int) -> Replay:
        """Replay rounds until the horizon. Workers share a round evenly."""
        drawn = table.draw(seed)
        chosen = RecordedSampler(table, TPESampler(seed=seed))
        study = optuna.create_study(direction=table.study.directions[0], sampler=chosen)
        done: list[Ended] = []
        spent = 0.0
        while spent < horizon and len(chosen.rows) + self.batch <= len(table):
            trials = [study.ask() for _ in range(self.batch)]
            for trial in trials:
                table.study.suggest(trial)
            spent = self._round(table, drawn, chosen, study, trials, spent, done)
        return Replay(table, tuple(done))

    def _round(
        self,
        table: Table,
        drawn: list[Drawn],
        chosen: RecordedSampler,
        study: optuna.Study,
        trials: list[optuna.Trial],
        spent: float,
        done: list[Ended],
    ) -> float:
        alive = {trial.number: trial for trial in trials}
        reached = 0
        rung = self.first
        while alive:
            seen: dict[int, float] = {}
            for number, trial in list(alive.items()):
                values = drawn[chosen.rows[number]].values
                end = min(rung, table.epochs)
                spent += end - reached + (table.warm_up if reached == 0 else 0.0)
                known = [table.sign * value for value in values[:end] if value is not None]
                if len(known) < end:
                    study.tell(trial, state=TrialState.FAIL)
                    done.append(Ended(chosen.rows[number], end, None, spent))
                    del alive[number]
                    continue
                for epoch in range(reached, end):
                    trial.report(table.sign * known[epoch], epoch)
                seen[number] = min(known)
                if end == table.epochs:
                    result = drawn[chosen.rows[number]].result
                    study.tell(trial, result, state=None if result is not None else TrialState.FAIL)
                    done.append(Ended(chosen.rows[number], end, result, spent))
                    del alive[number]
            if not alive:
                break
            reached = rung
            rung *= 2
            for number in self._dropped(seen):
                study.tell(alive.pop(number), state=TrialState.PRUNED)
                done.append(Ended(chosen.rows[number], reached, None, spent, pruned=True))
        return spent

    def _dropped(self, seen: Mapping[int, float]) -> list[int]:
        values = np.array(sorted(seen.values()))
        cut = values[(len(values) - 1) // 2]
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
        return [number for number, value in seen.items() if value > cut + self.margin * spread]


def warm_started(earlier: Table, best: int = 20) -> Play:
    """TPE + median (3, 2), told the best configurations of another file and as many random ones, with their values.

    Args:
        earlier: Another file of the same stage.
        best: How many.
    """
    ranked = [int(row) for row in np.argsort(earlier.truths) if np.isfinite(earlier.truths[row])]
    rest = np.random.default_rng(0).permutation(ranked[best:])[:best]
    spaces = earlier.study.parameters
    prior = [
        create_trial(
            params=earlier.params[row],
            distributions={name: spaces[name].distribution for name in earlier.params[row]},
            value=float(earlier.sign * earlier.truths[row]),
        )
        for row in [*ranked[:best], *map(int, rest)]
    ]

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        return replay(
            table,
            lambda table, seed: TPESampler(seed=seed),
            lambda table, drawn, chosen: make_pruner(Component(name="median", kwargs=_MEDIAN_32), table.epochs),
            seed,
            horizon,
            workers,
            prior,
        )

    return play


def _own(sampler: str | None, pruner: Callable[[Table, list[Drawn], RecordedSampler], BasePruner]) -> Play:
    """Replay TPE (or the start near the baseline, for None) with a pruner that the program does not offer."""

    def make(table: Table, seed: int) -> BaseSampler:
        return (
            StartNearBaseline(table, seed)
            if sampler is None
            else make_sampler(Component(name=sampler), seed, table.study)
        )

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        return replay(table, make, pruner, seed, horizon, workers)

    return play


def _sha(first: int, factor: int) -> dict[str, Any]:
    return {"name": "sha", "kwargs": {"min_resource": first, "reduction_factor": factor}}


@functools.cache
def methods() -> dict[str, Play]:
    """All methods by name, the reference first."""
    median_32 = {"name": "median", "kwargs": _MEDIAN_32}
    percentile = {"name": "percentile", "kwargs": {"percentile": 25.0, "n_startup_trials": 3, "n_warmup_steps": 2}}
    return {
        REFERENCE: _named("tpe", "median"),
        UNPRUNED: _named("tpe", "none"),
        ORACLE: _own("tpe", OraclePruner),
        "random, median (3, 5)": _named("random", "median"),
        "tpe, median (3, 2)": _named("tpe", median_32),
        "tpe, percentile 25 (3, 2)": _named("tpe", percentile),
        "tpe, sha (1, 2)": _named("tpe", _sha(1, 2)),
        "tpe, sha (2, 2)": _named("tpe", _sha(2, 2)),
        "tpe, sha (1, 3)": _named("tpe", _sha(1, 3)),
        "tpe (5), sha (1, 2)": _named({"name": "tpe", "kwargs": {"n_startup_trials": 5}}, _sha(1, 2)),
        "tpe, hyperband (1, 3)": _named(
            "tpe", {"name": "hyperband", "kwargs": {"min_resource": 1, "reduction_factor": 3}}
        ),
        "tpe, pfl (4)": _named("tpe", {"name": "pfl", "kwargs": {"warmup_epochs": 4}}),
        "tpe, curve (0.1)": _named("tpe", {"name": "curve", "kwargs": {"share": 0.1}}),
        "tpe, curve (0.25)": _named("tpe", "curve"),
        "tpe, curve (0.5)": _named("tpe", {"name": "curve", "kwargs": {"share": 0.5}}),
        "gp, none": _named("gp", "none"),
        "tpe, waiting": _own("tpe", lambda table, drawn, chosen: WaitingPruner(table.epochs)),
        "tpe near the baseline, median (3, 2)": _own(
            None, lambda table, drawn, chosen: make_pruner(Component.model_validate(median_32), table.epochs)
        ),
        "tpe near the baseline, curve (0.25)": _own(
            None, lambda table, drawn, chosen: make_pruner(Component(name="curve"), table.epochs)
        ),
        "batched halving (8, margin 0.25)": BatchedHalving(),
        "batched halving (8, margin 0)": BatchedHalving(margin=0.0),
    }

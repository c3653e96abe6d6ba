"""What is compared: the program's samplers and pruners by name, and methods that it does not offer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import create_trial

from benchmarks.search_efficiency.halving import BatchedHalving
from benchmarks.search_efficiency.replay import RecordedSampler, Replay, replay
from benchmarks.search_efficiency.table import Drawn, Table
from benchmarks.search_efficiency.unoffered import OraclePruner, StartNearBaseline, WaitingPruner
from helpers.search.samplers_and_pruners import make_pruner, make_sampler
from helpers.search.study_config import Component

Play = Callable[[Table, int, float, int], Replay]  # table, seed, horizon in epochs, workers

REFERENCE = "tpe, median (3, 5)"
UNPRUNED = "tpe, none"
ORACLE = "tpe, oracle"


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
            lambda table, drawn, chosen: make_pruner(Component.model_validate(_median(3, 2)), table.epochs),
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


def _tpe(startup_trials: int) -> dict[str, Any]:
    return {"name": "tpe", "kwargs": {"n_startup_trials": startup_trials}}


def _median(startup_trials: int, warmup_steps: int) -> dict[str, Any]:
    return {"name": "median", "kwargs": {"n_startup_trials": startup_trials, "n_warmup_steps": warmup_steps}}


def _sha(first: int, factor: int) -> dict[str, Any]:
    return {"name": "sha", "kwargs": {"min_resource": first, "reduction_factor": factor}}


@functools.cache
def methods() -> dict[str, Play]:
    """All methods by name, the reference first."""
    percentile = {"name": "percentile", "kwargs": {"percentile": 25.0, "n_startup_trials": 3, "n_warmup_steps": 2}}
    return {
        REFERENCE: _named("tpe", "median"),
        UNPRUNED: _named("tpe", "none"),
        ORACLE: _own("tpe", OraclePruner),
        "random, median (3, 5)": _named("random", "median"),
        "tpe, median (2, 1)": _named("tpe", _median(2, 1)),
        "tpe (3), median (2, 1)": _named(_tpe(3), _median(2, 1)),
        "tpe, median (3, 2)": _named("tpe", _median(3, 2)),
        "tpe, percentile 25 (3, 2)": _named("tpe", percentile),
        "tpe, sha (1, 2)": _named("tpe", _sha(1, 2)),
        "tpe, sha (2, 2)": _named("tpe", _sha(2, 2)),
        "tpe, sha (1, 3)": _named("tpe", _sha(1, 3)),
        "tpe (5), sha (1, 2)": _named(_tpe(5), _sha(1, 2)),
        "tpe, hyperband (1, 3)": _named(
            "tpe", {"name": "hyperband", "kwargs": {"min_resource": 1, "reduction_factor": 3}}
        ),
        "tpe, pfl (4)": _named("tpe", {"name": "pfl", "kwargs": {"warmup_epochs": 4}}),
        "tpe, curve (0.1)": _named("tpe", {"name": "curve", "kwargs": {"share": 0.1}}),
        "tpe, curve (0.25)": _named("tpe", "curve"),
        "tpe (5), curve (0.25)": _named(_tpe(5), "curve"),
        "tpe, curve (0.5)": _named("tpe", {"name": "curve", "kwargs": {"share": 0.5}}),
        "gp, none": _named("gp", "none"),
        "tpe, waiting": _own("tpe", lambda table, drawn, chosen: WaitingPruner(table.epochs)),
        "tpe near the baseline, median (3, 2)": _own(
            None, lambda table, drawn, chosen: make_pruner(Component.model_validate(_median(3, 2)), table.epochs)
        ),
        "tpe near the baseline, curve (0.25)": _own(
            None, lambda table, drawn, chosen: make_pruner(Component(name="curve"), table.epochs)
        ),
        "batched halving (8, margin 0.25)": BatchedHalving(),
        "batched halving (8, margin 0)": BatchedHalving(margin=0.0),
    }

"""What is compared: the program's samplers and pruners by name, and methods that it does not offer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, create_trial

from benchmarks.search_efficiency.halving import BatchedHalving
from benchmarks.search_efficiency.replay import MakePruner, MakeSampler, Replay, replay
from benchmarks.search_efficiency.table import Table
from benchmarks.search_efficiency.unoffered import OraclePruner, StartNearBaseline, WaitingPruner
from helpers.search.samplers_and_pruners import make_pruner, make_sampler
from helpers.search.study_config import Component

Play = Callable[[Table, int, float, int], Replay]  # table, seed, horizon in epochs, workers
Offered = str | dict[str, Any] | Component  # as a study file names it

REFERENCE = "tpe, median (3, 5)"
UNPRUNED = "tpe, none"
ORACLE = "tpe, oracle"


def playing(sampler: MakeSampler, pruner: MakePruner, prior: list[FrozenTrial] | None = None) -> Play:
    """Replay studies whose sampler and pruner are made anew for each (see `replay`)."""

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        return replay(table, sampler, pruner, seed, horizon, workers, prior)

    return play


def offered_sampler(component: Offered) -> MakeSampler:
    """Make a sampler of the program."""
    parsed = Component.model_validate(component)
    return lambda table, seed: make_sampler(parsed, seed, table.study)


def offered_pruner(component: Offered) -> MakePruner:
    """Make a pruner of the program."""
    parsed = Component.model_validate(component)
    return lambda table, drawn, chosen: make_pruner(parsed, table.epochs)


def of_components(sampler: Offered, pruner: Offered) -> Play:
    """Replay a sampler and a pruner by the program's names."""
    return playing(offered_sampler(sampler), offered_pruner(pruner))


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
    return playing(lambda table, seed: TPESampler(seed=seed), offered_pruner(_median(3, 2)), prior)


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
        REFERENCE: of_components("tpe", "median"),
        UNPRUNED: of_components("tpe", "none"),
        ORACLE: playing(offered_sampler("tpe"), OraclePruner),
        "random, median (3, 5)": of_components("random", "median"),
        "tpe, median (2, 1)": of_components("tpe", _median(2, 1)),
        "tpe (3), median (2, 1)": of_components(_tpe(3), _median(2, 1)),
        "tpe, median (3, 2)": of_components("tpe", _median(3, 2)),
        "tpe, percentile 25 (3, 2)": of_components("tpe", percentile),
        "tpe, sha (1, 2)": of_components("tpe", _sha(1, 2)),
        "tpe, sha (2, 2)": of_components("tpe", _sha(2, 2)),
        "tpe, sha (1, 3)": of_components("tpe", _sha(1, 3)),
        "tpe (5), sha (1, 2)": of_components(_tpe(5), _sha(1, 2)),
        "tpe, hyperband (1, 3)": of_components(
            "tpe", {"name": "hyperband", "kwargs": {"min_resource": 1, "reduction_factor": 3}}
        ),
        "tpe, pfl (4)": of_components("tpe", {"name": "pfl", "kwargs": {"warmup_epochs": 4}}),
        "tpe, curve (0.1)": of_components("tpe", {"name": "curve", "kwargs": {"share": 0.1}}),
        "tpe, curve (0.25)": of_components("tpe", "curve"),
        "tpe (5), curve (0.25)": of_components(_tpe(5), "curve"),
        "tpe, curve (0.5)": of_components("tpe", {"name": "curve", "kwargs": {"share": 0.5}}),
        "gp, none": of_components("gp", "none"),
        "tpe, waiting": playing(offered_sampler("tpe"), lambda table, drawn, chosen: WaitingPruner(table.epochs)),
        "tpe near the baseline, median (3, 2)": playing(StartNearBaseline, offered_pruner(_median(3, 2))),
        "tpe near the baseline, curve (0.25)": playing(StartNearBaseline, offered_pruner("curve")),
        "batched halving (8, margin 0.25)": BatchedHalving(),
        "batched halving (8, margin 0)": BatchedHalving(margin=0.0),
    }

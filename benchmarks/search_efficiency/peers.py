"""Schedulers of other packages on recorded curves: Ray Tune's ASHA, Syne Tune's ASHA and BOHB, SMAC3, NePS.

    python -m venv VENV && VENV/bin/pip install -r benchmarks/search_efficiency/requirements-peers.txt
    VENV/bin/python -m benchmarks.search_efficiency.peers report benchmarks/search_efficiency/meshhead_report.jsonl

The packages are driven directly, without their clusters and loops, and need an environment of their own. The reference is
replayed beside them with the same seeds. A package that is not installed is left out, and one line says so.

A proposal is mapped to the nearest unused row. Samplers of Optuna and Syne Tune are told that row's own parameters; SMAC3 and
NePS are told its values for the parameters that they asked for. Configurations that these two promote pay for their new epochs
only, which favours them.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from benchmarks.search_efficiency.__main__ import FIRST_SEED, describe, load, run
from benchmarks.search_efficiency.curves import SEEDS
from benchmarks.search_efficiency.figures import markdown
from benchmarks.search_efficiency.methods import ORACLE, REFERENCE, Play, methods, offered_sampler, playing
from benchmarks.search_efficiency.promoters import NepsPriorBand, SmacHyperband, promoted, seed_globals
from benchmarks.search_efficiency.replay import Replay, WorkerExit
from benchmarks.search_efficiency.table import Table
from gazegaussian.errors import UserError
from helpers.search.parameters import Categorical, Float, Int, Parameter


class RayAsha(BasePruner):
    """Ray Tune's AsyncHyperBandScheduler asked as a pruner.

    Args:
        table: Metric's direction and length of a trial.
        first: Epochs of the first rung.
        factor: Of two rungs.
    """

    def __init__(self, table: Table, first: int, factor: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self.table = table
        self.scheduler: Any = AsyncHyperBandScheduler(
            time_attr="epoch", grace_period=first, reduction_factor=factor, max_t=table.epochs
        )
        self.scheduler.set_search_properties("value", "max" if table.sign < 0 else "min")
        self.trials: dict[int, _RayTrial] = {}

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell Ray of the last epoch and ask it."""
        if trial.number not in self.trials:
            self.trials[trial.number] = _RayTrial(str(trial.number))
            self.scheduler.on_trial_add(None, self.trials[trial.number])
        step = trial.last_step
        assert step is not None
        result = {"epoch": step + 1, "training_iteration": step + 1, "value": trial.intermediate_values[step]}
        decision = self.scheduler.on_trial_result(None, self.trials[trial.number], result)
        return bool(decision == self.scheduler.STOP)


class _RayTrial:
    """What the scheduler reads of a Ray trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def ray_asha(sampler: str, first: int, factor: int) -> Play:
    """Replay a sampler of the program with Ray's ASHA."""
    return playing(offered_sampler(sampler), lambda table, drawn, chosen: RayAsha(table, first, factor))


def syne_tune(name: str, **settings: Any) -> Play:
    """Replay a scheduler of `syne_tune.optimizer.baselines` that stops trials."""

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer import baselines
        from syne_tune.optimizer.scheduler import SchedulerDecision

        seed_globals(seed)
        scheduler: Any = getattr(baselines, name)(
            {parameter: _syne_tune_parameter(one) for parameter, one in table.study.parameters.items()},
            metric="value",
            time_attr="epoch",
            max_t=table.epochs,
            random_seed=seed,
            points_to_evaluate=[table.params[0]],
            **settings,
        )
        drawn = table.draw(seed)
        rows: list[int] = []
        done: list[WorkerExit] = []
        spent = 0.0
        while spent < horizon and len(rows) < len(table):
            rows.append(table.nearest(scheduler.suggest().config, rows))
            curve = drawn[rows[-1]]
            trial = Trial(len(rows), table.params[rows[-1]], datetime.now())
            scheduler.on_trial_add(trial)
            spent += table.warm_up
            stopped = False
            epochs = 0
            for value in curve.values:
                epochs += 1
                if value is None:
                    scheduler.on_trial_error(trial)
                    break
                result = {"epoch": epochs, "value": table.sign * value}
                stopped = scheduler.on_trial_result(trial, result) == SchedulerDecision.STOP and epochs < table.epochs
                if stopped:
                    break
            spent += epochs
            done.append(WorkerExit(rows[-1], epochs, None if stopped else curve.result, spent, pruned=stopped))
        return Replay(table, tuple(done))

    return play


def _syne_tune_parameter(space: Parameter) -> Any:
    from syne_tune import config_space

    if isinstance(space, Categorical):
        return config_space.choice(space.choices)
    kinds = {
        (Int, False): config_space.randint,
        (Int, True): config_space.lograndint,
        (Float, False): config_space.uniform,
        (Float, True): config_space.loguniform,
    }
    return kinds[type(space), space.log](space.min, space.max)


PEERS: dict[str, dict[str, Play]] = {  # by the module that they need
    "ray.tune": {
        "tpe, ray asha (1, 2)": ray_asha("tpe", 1, 2),
        "tpe, ray asha (2, 2)": ray_asha("tpe", 2, 2),
        "random, ray asha (1, 4)": ray_asha("random", 1, 4),
    },
    "syne_tune": {
        "syne tune asha (1, 3)": syne_tune("ASHA"),
        "syne tune bohb (1, 3)": syne_tune("BOHB"),
    },
    "smac": {"smac hyperband (3)": promoted(SmacHyperband)},
    "neps": {"neps priorband (3)": promoted(NepsPriorBand)},
}


def _is_installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:  # it is missing, or what it needs is: Ray comes without the extras of its Tune
        return False
    return True


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("purpose", choices=list(SEEDS))
    parser.add_argument("curves", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)  # of the peers' own dependencies
    started = time.process_time()
    first = FIRST_SEED[given.purpose]
    seeds = range(first, first + given.seeds)
    absent = [module for module in PEERS if not _is_installed(module)]
    chosen = {name: methods()[name] for name in (REFERENCE, ORACLE)}
    for module, plays in PEERS.items():
        chosen |= {} if module in absent else plays
    if absent:
        print(f"not installed, left out: {', '.join(absent)} (requirements-peers.txt)")
    try:
        table = load(given.curves, given.purpose)
        print(describe(table, seeds, 1), end="\n\n")
        rows, budget = run(table, chosen, seeds, given.trials, 2.0, 1)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(markdown(rows, budget))
    print(f"\n{time.process_time() - started:.0f} s of one core.")


if __name__ == "__main__":
    main()

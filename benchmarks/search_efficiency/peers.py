"""Schedulers of other packages on recorded curves: Ray Tune's ASHA and SMAC3's Hyperband.

    python -m venv VENV && VENV/bin/pip install -r benchmarks/search_efficiency/requirements-peers.txt
    VENV/bin/python -m benchmarks.search_efficiency.peers report benchmarks/search_efficiency/meshhead_report.jsonl

The packages are driven directly, without their clusters and loops, and need an environment of their own. The reference is
replayed beside them with the same seeds. A package that is not installed is left out, and one line says so.

A proposal of SMAC3 is mapped to the nearest unused row. A configuration that is promoted pays for its new epochs only, which
favours SMAC3. It is told the values for the configurations that it asked for.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from benchmarks.search_efficiency.__main__ import FIRST_SEED, describe, load, run
from benchmarks.search_efficiency.curves import SEEDS
from benchmarks.search_efficiency.figures import markdown
from benchmarks.search_efficiency.methods import ORACLE, REFERENCE, Play, methods
from benchmarks.search_efficiency.replay import RecordedSampler, Replay, WorkerExit, replay
from benchmarks.search_efficiency.table import Drawn, Table
from gazegaussian.errors import UserError
from helpers.search.parameters import Categorical, Float, Int, Parameter
from helpers.search.samplers_and_pruners import make_sampler
from helpers.search.study_config import Component


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

    def make(table: Table, seed: int) -> BaseSampler:
        return make_sampler(Component(name=sampler), seed, table.study)

    def prune(table: Table, drawn: list[Drawn], chosen: RecordedSampler) -> BasePruner:
        return RayAsha(table, first, factor)

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        return replay(table, make, prune, seed, horizon, workers)

    return play


def smac_hyperband(eta: int = 3) -> Play:
    """Replay SMAC3's multi-fidelity facade (random forest, Hyperband), one trial at a time."""

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        from smac.runhistory.dataclasses import TrialValue

        drawn = table.draw(seed)
        smac = _smac(table, seed, eta)
        rows: dict[Any, int] = {}
        trained: dict[int, int] = {}  # epochs by row
        done: list[WorkerExit] = []
        spent = 0.0
        while spent < horizon and len(rows) < len(table):
            info = smac.ask()
            if info.config not in rows:
                rows[info.config] = table.nearest(dict(info.config), rows.values()) if rows else 0
                spent += table.warm_up
            row = rows[info.config]
            epochs = min(table.epochs, max(1, round(info.budget)))
            values = [table.sign * value for value in drawn[row].values[:epochs] if value is not None]
            spent += max(0, epochs - trained.get(row, 0))
            trained[row] = max(epochs, trained.get(row, 0))
            failed = len(values) < epochs
            complete = epochs == table.epochs and not failed
            done.append(WorkerExit(row, epochs, drawn[row].result if complete else None, spent, pruned=not complete))
            smac.tell(info, TrialValue(cost=math.inf if failed else min(values)))
        return Replay(table, tuple(done))

    return play


def _smac(table: Table, seed: int, eta: int) -> Any:
    """Build the facade; its files go to a folder that is removed."""
    import tempfile

    from ConfigSpace import Configuration, ConfigurationSpace
    from smac import MultiFidelityFacade, Scenario

    space = ConfigurationSpace(seed=seed)
    space.add([_smac_parameter(name, one) for name, one in table.study.parameters.items()])
    folder = tempfile.mkdtemp(prefix="smac_")
    scenario = Scenario(
        space,
        deterministic=True,
        n_trials=10_000,
        min_budget=1,
        max_budget=table.epochs,
        seed=seed,
        output_directory=Path(folder),
    )
    start = Configuration(space, values=table.params[0])
    return MultiFidelityFacade(
        scenario,
        lambda config, seed=0, budget=0: 0.0,
        initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=5, additional_configs=[start]),
        intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=eta),
        overwrite=True,
        logging_level=False,
    )


def _smac_parameter(name: str, space: Parameter) -> Any:
    from ConfigSpace import CategoricalHyperparameter, UniformFloatHyperparameter, UniformIntegerHyperparameter

    if isinstance(space, Categorical):
        return CategoricalHyperparameter(name, space.choices)
    kind = {Int: UniformIntegerHyperparameter, Float: UniformFloatHyperparameter}[type(space)]
    return kind(name, lower=space.min, upper=space.max, log=space.log)


def _has_ray_tune() -> bool:
    try:
        import ray.tune.schedulers  # noqa: F401
    except ImportError:
        return False
    return True


def _has_smac() -> bool:
    try:
        import smac  # noqa: F401
    except ImportError:
        return False
    return True


def peers() -> dict[str, Play]:
    """The methods whose packages are installed."""
    plays: dict[str, Play] = {}
    if _has_ray_tune():
        plays["tpe, ray asha (1, 2)"] = ray_asha("tpe", 1, 2)
        plays["tpe, ray asha (2, 2)"] = ray_asha("tpe", 2, 2)
        plays["random, ray asha (1, 4)"] = ray_asha("random", 1, 4)
    if _has_smac():
        plays["smac hyperband (3)"] = smac_hyperband()
    return plays


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("purpose", choices=list(SEEDS))
    parser.add_argument("curves", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.process_time()
    first = FIRST_SEED[given.purpose]
    seeds = range(first, first + given.seeds)
    chosen = {name: methods()[name] for name in (REFERENCE, ORACLE)} | peers()
    absent = [name for name, there in (("ray.tune", _has_ray_tune()), ("smac", _has_smac())) if not there]
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

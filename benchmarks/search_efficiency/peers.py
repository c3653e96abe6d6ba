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
import importlib.util
import logging
import math
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Hashable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from benchmarks.search_efficiency.__main__ import FIRST_SEED, describe, load, run
from benchmarks.search_efficiency.curves import SEEDS
from benchmarks.search_efficiency.figures import markdown
from benchmarks.search_efficiency.methods import ORACLE, REFERENCE, Play, methods, offered_sampler, playing
from benchmarks.search_efficiency.replay import Replay, WorkerExit
from benchmarks.search_efficiency.table import Table, choice_index
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

        _seed_globals(seed)
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


def _seed_globals(seed: int) -> None:
    """Seed the global random numbers, from which Syne Tune and NePS draw."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


class Promoter(Protocol):
    """Another package's search that asks for a configuration with few epochs and later again with more."""

    def ask(self) -> tuple[Hashable, dict[str, Any], int]:
        """Return a configuration's identity, its parameters and the epochs that it is to have."""
        ...

    def tell(self, value: float) -> None:
        """Take what the configuration that was asked for last has reached; infinite for a failure, to be minimised."""
        ...


def promoted(make: Callable[[Table, int], Promoter]) -> Play:
    """Replay a search that promotes configurations, one trial at a time."""

    def play(table: Table, seed: int, horizon: float, workers: int) -> Replay:
        drawn = table.draw(seed)
        search = make(table, seed)
        rows: dict[Hashable, int] = {}
        trained: dict[int, int] = {}  # epochs by row
        done: list[WorkerExit] = []
        spent = 0.0
        while spent < horizon and len(rows) < len(table):
            identity, params, wanted = search.ask()
            if identity not in rows:
                rows[identity] = table.nearest(params, rows.values())
                spent += table.warm_up
            row = rows[identity]
            epochs = min(table.epochs, max(1, wanted))
            values = [table.sign * value for value in drawn[row].values[:epochs] if value is not None]
            spent += max(0, epochs - trained.get(row, 0))
            trained[row] = max(epochs, trained.get(row, 0))
            failed = len(values) < epochs
            complete = epochs == table.epochs and not failed
            done.append(WorkerExit(row, epochs, drawn[row].result if complete else None, spent, pruned=not complete))
            search.tell(math.inf if failed else min(values))
        return Replay(table, tuple(done))

    return play


class SmacHyperband:
    """SMAC3's multi-fidelity facade: random forest, Hyperband."""

    def __init__(self, table: Table, seed: int, eta: int = 3) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="smac_")  # removed with this object
        self.smac = _smac(table, seed, eta, Path(self.folder.name))

    def ask(self) -> tuple[Hashable, dict[str, Any], int]:
        """See `Promoter`."""
        self.info = self.smac.ask()
        return self.info.config, dict(self.info.config), round(self.info.budget)

    def tell(self, value: float) -> None:
        """See `Promoter`."""
        from smac.runhistory.dataclasses import TrialValue

        self.smac.tell(self.info, TrialValue(cost=value))


class NepsPriorBand:
    """NePS' PriorBand, whose prior is the baseline."""

    def __init__(self, table: Table, seed: int, eta: int = 3) -> None:
        import neps
        import torch

        _seed_globals(seed)
        torch.manual_seed(seed)
        fields = {name: _neps_parameter(one, table.params[0][name]) for name, one in table.study.parameters.items()}
        fields["epochs"] = neps.IntegerFidelity(1, table.epochs)
        space = type("Space", (neps.PipelineSpace,), fields)()
        optimizer = neps.algorithms.priorband(space, eta=eta, sample_prior_first=True)
        self.search = neps.AskAndTell(optimizer)

    def ask(self) -> tuple[Hashable, dict[str, Any], int]:
        """See `Promoter`."""
        self.trial = self.search.ask()
        params = dict(self.trial.config)
        epochs = params.pop("epochs")
        return self.trial.id.split("_")[0], params, epochs

    def tell(self, value: float) -> None:
        """See `Promoter`."""
        self.search.tell(self.trial, value if math.isfinite(value) else ArithmeticError("the training diverged"))


def _neps_parameter(space: Parameter, prior: Any) -> Any:
    import neps

    if isinstance(space, Categorical):
        return neps.Categorical(list(space.choices), prior=choice_index(space, prior), prior_confidence="medium")
    kind = neps.Integer if isinstance(space, Int) else neps.Float
    return kind(space.min, space.max, log=space.log, prior=prior, prior_confidence="medium")


def _smac(table: Table, seed: int, eta: int, folder: Path) -> Any:
    """Build the facade, which writes its files to `folder`."""
    from ConfigSpace import Configuration, ConfigurationSpace
    from smac import MultiFidelityFacade, Scenario

    space = ConfigurationSpace(seed=seed)
    space.add([_smac_parameter(name, one) for name, one in table.study.parameters.items()])
    scenario = Scenario(
        space,
        deterministic=True,
        n_trials=10_000,
        min_budget=1,
        max_budget=table.epochs,
        seed=seed,
        output_directory=folder,
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
        return importlib.util.find_spec(module) is not None
    except ImportError:  # its package is missing
        return False


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

"""Searches of other packages that promote configurations: SMAC3 and NePS, told what recorded curves say."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.search_efficiency.methods import Play
from benchmarks.search_efficiency.replay import Replay, WorkerExit
from benchmarks.search_efficiency.table import Table, choice_index
from helpers.search.parameters import Categorical, Float, Int, Parameter


def seed_globals(seed: int) -> None:
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

        seed_globals(seed)
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

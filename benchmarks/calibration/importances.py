"""Do the importances keep what they promise? Studies of functions whose shares of the variance are known.

Each row of the table is a function at a number of trials: true share, mean estimate and how often the 90% interval holds the
truth, for the parameters that matter, for those that do not, for pairs and for the rest; how often trials are said to tell
(out-of-bag R2 from 0.2 on); and, where they tell, how often the order of the parameters that matter is right and how often
a parameter without effect is called clear.

    python -m benchmarks.calibration.importances [--studies 20] [--trials 12,30,100] [--functions additive/noise]
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from helpers.analysis.importance import Importances, parameter_importances

NUMBERS = (12, 30, 100, 199, 200, 500)
GRID = 200  # points of a continuous parameter, for the true shares
EPOCHS = 10
STARTUP = 5  # trials that are not pruned
WARM_UP = 2  # epochs that no trial is pruned in
Parameters = Mapping[str, Any]

LR = FloatDistribution(1e-5, 1e-2, log=True)
THREE = CategoricalDistribution((32, 64, 128))
SPACE: dict[str, BaseDistribution] = {
    "lr": LR,
    "batch_size": CategoricalDistribution((1, 2)),
    "w1": THREE,
    "w2": THREE,
    "w3": THREE,
}
MIXED: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(("conv", "dit", "mlp", "none")),
    "depth": IntDistribution(1, 4),
    "dropout": FloatDistribution(0.0, 0.5),
    "idle": FloatDistribution(0.0, 1.0),
}
WIDE: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0), "w": FloatDistribution(0.0, 1.0)}


@dataclass(frozen=True)
class Known:
    """A function with known shares: its value without noise, and the noise's standard deviation."""

    space: Mapping[str, BaseDistribution]
    value: Callable[[Parameters], float]
    noise: float
    pruned: bool = False  # by the median of the trials before


@dataclass(frozen=True)
class Truth:
    """Shares of the variance, 0 to 1."""

    mains: Mapping[str, float]
    pairs: float
    rest: float


def _lr(given: Parameters) -> float:
    """Learning rate on its searched scale, 0 to 1."""
    return (math.log10(given["lr"]) + 5) / 3


def _place(given: Parameters, name: str) -> float:
    """Place of a choice among three, 0 to 1."""
    return THREE.choices.index(given[name]) / 2


KINDS = {"conv": 0.0, "dit": 1.0, "mlp": 0.2, "none": 0.7}
FUNCTIONS: dict[str, Known] = {
    "additive": Known(SPACE, lambda p: _lr(p) + 0.5 * _place(p, "w1"), 0.15),
    "logarithmic": Known(
        {"lr": LR, "w": FloatDistribution(0.0, 1.0), "idle": FloatDistribution(0.0, 1.0)},
        lambda p: _lr(p) + 0.5 * p["w"],
        0.05,
    ),
    "interaction": Known(SPACE, lambda p: float((_lr(p) > 0.5) != (p["batch_size"] == 2)), 0.05),
    "noise": Known(SPACE, lambda p: 0.0, 1.0),
    "valley, pruned": Known(SPACE, lambda p: 4 * (_lr(p) - 0.6) ** 2 + 0.08 * _place(p, "w1"), 0.02, pruned=True),
    "oscillation": Known(WIDE, lambda p: math.sin(16 * math.pi * p["a"]) + 0.5 * p["w"], 0.1),
    "choices": Known(MIXED, lambda p: KINDS[p["kind"]] + 0.2 * p["depth"] + p["dropout"] * (p["depth"] > 2), 0.2),
}


def true_shares(known: Known) -> Truth:
    """Compute the shares on a grid of the searched space; what three parameters do together counts to the rest."""
    grids = {name: _grid(space) for name, space in known.space.items()}
    shape = tuple(len(grid) for grid in grids.values())
    values = np.array(
        [known.value(dict(zip(grids, point, strict=True))) for point in itertools.product(*grids.values())]
    )
    values = values.reshape(shape) - values.mean()
    total = values.var() + known.noise**2
    axes = range(values.ndim)
    means = {i: values.mean(axis=tuple(j for j in axes if j != i)) for i in axes}
    pairs = 0.0
    for i, j in itertools.combinations(axes, 2):
        both = values.mean(axis=tuple(k for k in axes if k not in (i, j)))
        pairs += (both - means[i][:, None] - means[j][None, :]).var()
    mains = {name: float(means[i].var() / total) for i, name in enumerate(grids)}
    return Truth(mains, float(pairs / total), float(1 - sum(mains.values()) - pairs / total))


def _grid(space: BaseDistribution) -> list[Any]:
    """Equally likely values."""
    if isinstance(space, CategoricalDistribution):
        return list(space.choices)
    if isinstance(space, IntDistribution):
        return list(range(space.low, space.high + 1))
    assert isinstance(space, FloatDistribution)
    positions = (np.arange(GRID) + 0.5) / GRID
    if space.log:
        return list(space.low * (space.high / space.low) ** positions)
    return list(space.low + (space.high - space.low) * positions)


def simulate(known: Known, trials: int, seed: int) -> optuna.Study:
    """Make a study of random parameters.

    Args:
        known: What it measures.
        trials: How many end, complete or pruned.
        seed: Of parameters and noise.
    """
    generator = np.random.default_rng(seed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.set_user_attr("metric", "val_loss")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP)
    for _ in range(trials):
        trial = study.ask(dict(known.space))
        value = known.value(trial.params) + known.noise * generator.standard_normal()
        if not known.pruned:
            study.tell(trial, value)
            continue
        curve = {epoch: value + math.exp(-epoch) for epoch in range(EPOCHS)}
        stopped = False
        for epoch, reached in curve.items():
            trial.report(reached, epoch)
            frozen = study.get_trials(deepcopy=False)[trial.number]
            stopped = pruner.prune(study, frozen)
            if stopped:
                break
        study.tell(trial, None if stopped else value, TrialState.PRUNED if stopped else TrialState.COMPLETE)
    return study


def summary(name: str, trials: int, studies: int, first_seed: int = 0) -> dict[str, Any]:
    """Simulate studies of a function and compare what is said with what is true.

    Args:
        name: Key of `FUNCTIONS`.
        trials: Of each study.
        studies: How many.
        first_seed: Their seeds count up from it.
    """
    known = FUNCTIONS[name]
    truth = true_shares(known)
    estimates = [parameter_importances(simulate(known, trials, first_seed + number)) for number in range(studies)]
    mattering = [parameter for parameter, share in truth.mains.items() if share >= 0.01]
    idle = [parameter for parameter in truth.mains if parameter not in mattering]
    telling = [one for one in estimates if one.telling]
    row: dict[str, Any] = {"function": name, "trials": trials}
    for parameter in mattering:
        row[parameter] = _compared([_share(one, parameter) for one in estimates], truth.mains[parameter])
    idles = [_share(one, parameter) for one in estimates for parameter in idle]
    row["idle"] = _compared(idles, 0.0, slack=0.01) if idles else ""
    row["pairs"] = _compared([_share(one, one.pairs.parameter) for one in estimates if one.pairs], truth.pairs)
    row["rest"] = _compared([_share(one, one.rest.parameter) for one in estimates if one.rest], truth.rest)
    row["tell"] = f"{len(telling)}/{studies}"
    order = sorted(mattering, key=lambda parameter: -truth.mains[parameter])
    right = sum(one.names[: len(order)] == order for one in telling)
    row["order right"] = f"{right}/{len(telling)}" if order and telling else "-"
    false = sum(parameter in idle for one in telling for parameter in one.clear)
    row["idle called clear"] = f"{false}/{len(telling) * len(idle)}"
    return row


def _share(estimate: Importances, name: str) -> tuple[float, float, float]:
    row = next(row for row in estimate.shares if row.parameter == name)
    return row.value, row.low, row.high


def _compared(rows: list[tuple[float, float, float]], truth: float, slack: float = 0.0) -> str:
    """True share, mean estimate, share of the intervals that hold the truth."""
    held = np.mean([low - slack <= truth <= high + slack for _, low, high in rows])
    return f"{truth:.2f} / {np.mean([value for value, _, _ in rows]):.2f} / {held:.0%}"


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Rows of one function as a Markdown table."""
    columns = [column for column in rows[0] if column != "function"]
    lines = ["", f"{rows[0]['function']}: true share / mean estimate / intervals that hold it", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows)])


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration.importances", description=__doc__)
    parser.add_argument("--studies", type=int, default=20, help="per function and number of trials")
    parser.add_argument("--trials", default=",".join(map(str, NUMBERS)), help="numbers of trials")
    parser.add_argument("--functions", default="/".join(FUNCTIONS), help=f"of {'/'.join(FUNCTIONS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the first study")
    asked = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.process_time()
    for name in asked.functions.split("/"):
        rows = [summary(name, trials, asked.studies, asked.seed) for trials in map(int, asked.trials.split(","))]
        print(as_markdown(rows), flush=True)
    print(f"\n{asked.studies} studies each, {time.process_time() - started:.0f} s of CPU time")


if __name__ == "__main__":
    main()

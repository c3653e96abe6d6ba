"""How often the intervals of the figures hold the truth, in simulated comparisons whose truth is known.

    python -m benchmarks.search_efficiency.coverage --runs 400

A population of many replays of two methods is made: random search, and random search that pays less per trial and loses some
trials. Figures A and E of the whole population are the truth. Each comparison draws some seeds of the population, as a
benchmark does. Exits with 1 when the interval of A or of the difference holds the truth in less than 88% of the comparisons.
That of E alone covers less: a regret cannot fall below 0, so its distribution is skewed.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

from benchmarks.search_efficiency.curves import CPU_SECONDS, Curve, Header, Recording
from benchmarks.search_efficiency.figures import Figures, Interval, compare
from benchmarks.search_efficiency.replay import Replay, WorkerExit
from benchmarks.search_efficiency.table import Table

ROWS = 150
EPOCHS = 8
BUDGET = 200.0  # epochs
HORIZON = 400.0
LEAST = 0.88  # share of the comparisons; percentile intervals of 30 seeds cover a little less than 95%


def planted_table() -> Table:
    """Random configurations of one parameter, with results that a few of them reach."""
    space = {"lr": {"type": "float", "min": 1e-5, "max": 1e-1, "log": True}}
    study = {"study_name": "planted", "trials": 30, "search_space": {"all": space}}
    generator = np.random.default_rng(0)
    curves = []
    for index, lr in enumerate([1e-2, *10 ** generator.uniform(-5, -1, size=ROWS)]):
        final = (math.log10(lr) + 3) ** 2 + 0.3 * generator.uniform()
        metrics: dict[str, list[float | None]] = {"val_loss": [final] * EPOCHS, CPU_SECONDS: [1.0] * EPOCHS}
        curves.append(Curve(index, 0, "whole", {"lr": float(lr)}, "complete", metrics, 0.5, 0.5))
    return Table(Recording(Header("meshhead", "choose", EPOCHS, 0, "", {}, study, {}, "", ""), curves))


def pair(table: Table, seed: int, loss: float = 0.15, cheap: float = 3.0) -> tuple[Replay, Replay]:
    """Replay random search with and without an imagined pruner on the same order of configurations.

    Args:
        table: Configurations.
        seed: Of the order and of what the pruner loses.
        loss: Probability that the pruner gives up a configuration that it should keep.
        cheap: Epochs of a configuration that it gives up.
    """
    generator = np.random.default_rng(seed)
    order = [0, *(1 + generator.permutation(len(table) - 1))]
    whole: list[WorkerExit] = []
    pruned: list[WorkerExit] = []
    spent = 0.0
    best = math.inf
    for position, row in enumerate(map(int, order)):
        value = float(table.truths[row])
        whole.append(WorkerExit(row, EPOCHS, value, (position + 1) * EPOCHS))
        keeps = value < best * 1.2 and (position == 0 or generator.uniform() > loss)
        spent += EPOCHS if keeps else cheap
        pruned.append(WorkerExit(row, EPOCHS, value if keeps else None, spent, pruned=not keeps))
        best = min(best, value) if keeps else best
    return Replay(table, tuple(whole)), Replay(table, tuple(pruned))


def figures(pairs: list[tuple[Replay, Replay]], seed: int) -> Figures:
    """Compare the pruned searches with the whole ones."""
    replays = {"whole": [one[0] for one in pairs], "pruned": [one[1] for one in pairs]}
    return next(row for row in compare(replays, "whole", BUDGET, HORIZON, seed) if row.method == "pruned")


def simulate(runs: int, seeds: int, population: int) -> tuple[Figures, dict[str, float]]:
    """Count how often each interval holds the population's value.

    Args:
        runs: Comparisons.
        seeds: Of one comparison.
        population: Replays of either method.

    Returns:
        The truth, and the share of comparisons in which the interval of A, E and the difference of E holds it.
    """
    table = planted_table()
    pairs = [pair(table, seed) for seed in range(population)]
    truth = figures(pairs, 0)
    held = {"A": 0, "E": 0, "E minus the reference's": 0}
    generator = np.random.default_rng(1)
    for run in range(runs):
        estimate = figures([pairs[index] for index in generator.choice(population, seeds, replace=False)], run)
        held["A"] += _holds(estimate.share, truth.share.value)
        held["E"] += _holds(estimate.regret, truth.regret.value)
        held["E minus the reference's"] += _holds(estimate.difference, truth.difference.value)
    return truth, {name: count / runs for name, count in held.items()}


def _holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def main() -> None:
    """Print the coverage; fail when it is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--population", type=int, default=1500)
    given = parser.parse_args()
    truth, coverage = simulate(given.runs, given.seeds, given.population)
    print(f"truth: A {truth.share.value:.2f}, E {truth.regret.value:.3f}, difference {truth.difference.value:.3f}")
    for name, share in coverage.items():
        print(f"{name}: the 95% interval of {given.seeds} seeds holds it in {share:.1%} of {given.runs} comparisons")
    compared = [share for name, share in coverage.items() if name != "E"]
    sys.exit(0 if min(compared) >= LEAST else 1)


if __name__ == "__main__":
    main()

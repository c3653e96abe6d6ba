"""Which sampler and pruner need the fewest epochs? Replays studies on recorded curves and prints a table.

    python -m benchmarks.search_efficiency benchmarks/search_efficiency/meshhead.jsonl
    python -m benchmarks.search_efficiency FILE --samplers random tpe --pruners median '{name: pfl, kwargs: {top_k: 1}}'

Every study is replayed with many seeds, for twice as many epochs as `--trials` need without pruning (or until all
configurations are used). The target is what tpe finds in `--trials` trials without pruning, median over the seeds: inf means
that half of the studies do not reach it. The reference is tpe with the median pruner's defaults (startup 3, warm-up 5).
"Winner lost": how often a pruned trial would have been the best. "Best 3 after one epoch" draws at random and trains
only three to the end. Twenty seeds take about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import optuna
import yaml
from pydantic import ValidationError

from benchmarks.search_efficiency.replay import Replay, best_after_one_epoch, replay
from benchmarks.search_efficiency.summary import Row, markdown, median, summarise
from benchmarks.search_efficiency.table import Table
from gazegaussian.errors import UserError
from helpers.study_file import Component

SAMPLERS = ("random", "tpe", "tpe_univariate", "{name: qmc, kwargs: {scramble: true}}")
PRUNERS = (
    "none",
    "median",
    "{name: median, kwargs: {n_startup_trials: 3, n_warmup_steps: 2}}",
    "{name: median, kwargs: {n_startup_trials: 3, n_warmup_steps: 1}}",
    "percentile",
    "{name: percentile, kwargs: {percentile: 25.0, n_startup_trials: 3, n_warmup_steps: 1}}",
    "sha",
    "{name: sha, kwargs: {min_resource: 1, reduction_factor: 2}}",
    "hyperband",
    "pfl",
    "{name: pfl, kwargs: {warmup_epochs: 4}}",
)
ONE_EPOCH_KEPT = 3
REFERENCE = ("tpe", "median")
UNPRUNED = ("tpe", "none")
PATIENCE = 2  # budgets that a study is given to reach the target

Play = Callable[[int], Replay]  # by seed


def component(text: str) -> Component:
    """Read a sampler or pruner: a name, or YAML `{name, kwargs}`."""
    try:
        return Component.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a name nor {{name: ..., kwargs: ...}}") from error


def label(part: Component) -> str:
    """Show a component with its arguments."""
    arguments = ", ".join(f"{key} {value}" for key, value in part.kwargs.items())
    return f"{part.name} ({arguments})" if arguments else part.name


def compare(
    table: Table, samplers: Sequence[Component], pruners: Sequence[Component], seeds: Iterable[int], trials: int
) -> tuple[list[Row], float]:
    """Replay every sampler with every pruner, and "best k after one epoch".

    Args:
        table: Recorded curves.
        samplers: By the product's names.
        pruners: By the product's names.
        seeds: Of the studies of each.
        trials: Of an unpruned study; its epochs are the budget of all, within which their best values are compared.

    Returns:
        One row each, and the target.

    Raises:
        ConfigError: An unknown sampler or pruner.
    """
    budget = trials * table.epochs

    def play(sampler: Component, pruner: Component) -> Play:
        return lambda seed: replay(table, sampler, pruner, seed, trials, PATIENCE * budget)

    cells: dict[tuple[str, str], Play] = {
        name: play(Component(name=name[0]), Component(name=name[1])) for name in (UNPRUNED, REFERENCE)
    }
    for sampler in samplers:
        cells |= {(label(sampler), label(pruner)): play(sampler, pruner) for pruner in pruners}
    one_epoch = ("random", f"best {ONE_EPOCH_KEPT} after one epoch")
    cells[one_epoch] = lambda seed: best_after_one_epoch(table, ONE_EPOCH_KEPT, seed, trials, PATIENCE * budget)
    replays = {name: [cell(seed) for seed in seeds] for name, cell in cells.items()}
    target = float(median(table.sign * np.array([one.best(trials) for one in replays[UNPRUNED]])) * table.sign)
    rows = [summarise(name, found, replays[REFERENCE], target, trials, budget) for name, found in replays.items()]
    return rows, target


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, help="file written by benchmarks.search_efficiency.record")
    parser.add_argument("--samplers", nargs="+", type=component, default=[component(text) for text in SAMPLERS])
    parser.add_argument("--pruners", nargs="+", type=component, default=[component(text) for text in PRUNERS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="what was chosen on some seeds is measured on others")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started, seeds = time.monotonic(), range(given.first_seed, given.first_seed + given.seeds)
    try:
        table = Table.load(given.curves)
        rows, target = compare(table, given.samplers, given.pruners, seeds, given.trials)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    budget = given.trials * table.epochs
    rows.sort(key=lambda row: (row.until.value, row.epochs.value))
    print(
        f"{table.stage}: {len(table)} recorded configurations of {table.epochs} epochs, {given.seeds} seeds; best ",
        end="",
    )
    complete = [value for value in map(table.result, range(len(table))) if value is not None]
    print(
        f"recorded {table.sign * min(table.sign * value for value in complete):.5g}, baseline {table.result(0):.5g}\n"
    )
    print(markdown(rows, trials=given.trials, budget=budget, target=target))
    weights = dict(zip(table.study.parameters, table.weights.round(3).tolist(), strict=True))
    print(f"\nWeights of the parameters in distances: {weights}. {time.monotonic() - started:.0f} s.")
    if given.json is not None:
        content = {
            "stage": table.stage,
            "configurations": len(table),
            "epochs": table.epochs,
            "seeds": list(seeds),
            "trials": given.trials,
            "budget": budget,
            "target": target,
            "rows": [row.plain() for row in rows],
        }
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

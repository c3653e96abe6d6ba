"""How often do the importances of a replayed study of ten trials tell anything?

    python -m benchmarks.search_efficiency.telling FILE [--seeds 30] [--methods NAME ...]

They do when the out-of-bag R2 of the fit is 0.2 or more: then the plot has bars. Studies begin with the baseline, two trials
side by side, as the quick studies do.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.search_efficiency.methods import REFERENCE, methods
from benchmarks.search_efficiency.replay import Replay, WorkerExit
from benchmarks.search_efficiency.table import Drawn, Table
from gazegaussian.errors import UserError
from helpers.analysis.importance import Importances, parameter_importances
from helpers.analysis.shares import clopper_pearson

METHODS = (
    REFERENCE,
    "tpe, median (3, 2)",
    "tpe, median (2, 1)",
    "tpe (3), median (2, 1)",
    "tpe, curve (0.25)",
    "tpe (5), curve (0.25)",
)
TRIALS = 10
WORKERS = 2


def importances_of(replay: Replay, drawn: list[Drawn], trials: int) -> Importances:
    """Importances of a replay's first trials, as its study would give them.

    Args:
        replay: At least one trial.
        drawn: Curves that its seed draws, by row.
        trials: How many, in the order in which they ended.
    """
    study = optuna.create_study(direction=replay.table.study.directions[0])
    for one in replay.trials[:trials]:
        study.add_trial(_as_trial(replay.table, one, drawn[one.row]))
    return parameter_importances(study)


def _as_trial(table: Table, one: WorkerExit, drawn: Drawn) -> FrozenTrial:
    params = table.params[one.row]
    reported = {epoch: value for epoch, value in enumerate(drawn.values[: one.epochs]) if value is not None}
    ended = TrialState.PRUNED if one.pruned else TrialState.FAIL if one.value is None else TrialState.COMPLETE
    return create_trial(
        state=ended,
        value=one.value,
        params=dict(params),
        distributions={name: table.study.parameters[name].distribution for name in params},
        intermediate_values=reported,
    )


def telling(table: Table, names: tuple[str, ...], seeds: int) -> Mapping[str, list[Importances]]:
    """Importances of replayed studies of ten trials, by method and seed."""
    horizon = float(TRIALS * (table.epochs + table.warm_up))  # nothing pruned: the epochs of ten trials
    known = methods()
    return {
        name: [
            importances_of(known[name](table, seed, horizon, WORKERS), table.draw(seed), TRIALS)
            for seed in range(seeds)
        ]
        for name in names
    }


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", choices=list(methods()))
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        table = Table.load(given.curves)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print("| method | studies whose importances tell | median R2 |\n|---|---|---|")
    for name, studies in telling(table, tuple(given.methods), given.seeds).items():
        count = sum(one.telling for one in studies)
        low, high = clopper_pearson(count, len(studies))
        median = np.median([-1.0 if one.out_of_bag is None else one.out_of_bag for one in studies])
        print(f"| {name} | {count / len(studies):.0%} [{low:.0%}, {high:.0%}] | {median:.2f} |")


if __name__ == "__main__":
    main()

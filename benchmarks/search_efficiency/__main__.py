"""Which sampler and pruner need the fewest epochs? Replays studies on recorded curves and prints a table.

    python -m benchmarks.search_efficiency choose meshhead_choose.jsonl
    python -m benchmarks.search_efficiency report meshhead_report.jsonl --methods 'tpe, median (3, 2)' 'tpe, curve (0.25)'
    python -m benchmarks.search_efficiency report FILE --add 'tpe + {name: median, kwargs: {n_warmup_steps: 1}}'

`choose` compares all methods on the curves that are there to choose by. `report` measures the chosen ones on curves of other
configurations; it rejects a file that was recorded to choose by, and `choose` one to report on. The reference (TPE +
median (3, 5)), TPE without pruning and the oracle are always there. `figures.py` defines what the columns mean. Studies begin with
the baseline; with `--cold` they do not, as with data for which no good configuration is known.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import yaml
from pydantic import ValidationError

from benchmarks.search_efficiency.curves import SEEDS, Purpose, read
from benchmarks.search_efficiency.figures import Figures, budget_of, compare, markdown
from benchmarks.search_efficiency.identity import require_quick_sizes
from benchmarks.search_efficiency.methods import ORACLE, REFERENCE, UNPRUNED, Play, methods, of_components, warm_started
from benchmarks.search_efficiency.replay import Replay
from benchmarks.search_efficiency.table import Table
from gazegaussian.errors import ConfigError, UserError
from helpers.search.study_config import Component

ALWAYS = (REFERENCE, UNPRUNED, ORACLE)
FIRST_SEED: Mapping[Purpose, int] = {"choose": 0, "report": 1000}


def parse_method(text: str) -> tuple[str, Play]:
    """Read `SAMPLER + PRUNER`, each a name or YAML `{name, kwargs}`."""
    sampler, plus, pruner = text.partition("+")
    try:
        parts = [Component.model_validate(yaml.safe_load(part)) for part in (sampler, pruner)]
    except (yaml.YAMLError, ValidationError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no SAMPLER + PRUNER, each a name or {{name, kwargs}}") from error
    if not plus:
        raise argparse.ArgumentTypeError(f"{text!r} lacks the + between sampler and pruner")
    return text, of_components(*parts)


def load(
    path: Path, purpose: Purpose, config: Path | None = None, study: Path | None = None, *, cold: bool = False
) -> Table:
    """Read a file that was recorded for a purpose, with the sizes of today.

    Args:
        path: JSON lines.
        purpose: That the file must have.
        config: Run configuration that it must have been recorded with; default the stage's quick one.
        study: Likewise the study file.
        cold: Replayed studies do not begin with the baseline.

    Raises:
        ConfigError: It was recorded for the other purpose, or with other sizes.
        DataError: It is no file of curves.
    """
    recording = read(path)
    header = recording.header
    if header.purpose != purpose:
        raise ConfigError(
            f"{path} was recorded to {header.purpose}, not to {purpose}: what was chosen by curves cannot be reported on "
            f"them. Give {header.stage}_{purpose}.jsonl."
        )
    require_quick_sizes(header, path, config, study)
    return Table(recording, cold=cold)


def run(
    table: Table, chosen: Mapping[str, Play], seeds: Sequence[int], trials: int, patience: float, workers: int
) -> tuple[list[Figures], float]:
    """Replay methods and put them into figures.

    Args:
        table: Recorded curves.
        chosen: Methods by name; the reference must be one.
        seeds: Of the replays.
        trials: What the reference spends on so many trials is the budget of all.
        patience: Horizon of the replays, in budgets.
        workers: Trials side by side.

    Returns:
        One row per method, and the budget in epochs.
    """
    longest = patience * trials * (table.epochs + table.warm_up)
    replays: dict[str, list[Replay]] = {}
    replays[REFERENCE] = [chosen[REFERENCE](table, seed, longest, workers) for seed in seeds]
    budget = budget_of(replays[REFERENCE], trials)
    horizon = patience * budget
    for name, play in chosen.items():
        if name != REFERENCE:
            replays[name] = [play(table, seed, horizon, workers) for seed in seeds]
    return compare(replays, REFERENCE, budget, horizon), budget


def describe(table: Table, seeds: Sequence[int], workers: int) -> str:
    """Say what was recorded and how it is replayed."""
    header = table.header
    drawn = Counter(curves[0].drawn for curves in table.curves)
    repeated = sum(len(curves) > 1 for curves in table.curves)
    noise = (
        f"{repeated} of them with several training seeds"
        if repeated
        else "one training seed each, replayed without noise"
    )
    parts = ", ".join(f"{count} {kind}" for kind, count in drawn.items())
    return (
        f"{header.stage}, to {header.purpose}: {len(table)} configurations ({parts}), {noise}; {table.epochs} epochs of "
        f"{table.study.metrics[0]}, warm-up {table.warm_up:.2f} epochs, digest {header.digest}. {len(seeds)} seeds from "
        f"{seeds[0]} on, {workers} at a time{', without the baseline first' if table.cold else ''}. Target: half the reference's epochs."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("purpose", choices=list(SEEDS))
    parser.add_argument("curves", type=Path, help="file written by benchmarks.search_efficiency.record")
    parser.add_argument("--config", type=Path, help="recorded with it; default configs/runs/STAGE/quick.yaml")
    parser.add_argument("--study", type=Path, help="recorded with it; default configs/studies/STAGE/quick.yaml")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help=f"of {'; '.join(methods())}")
    parser.add_argument("--add", nargs="+", type=parse_method, default=[], metavar="SAMPLER + PRUNER")
    parser.add_argument(
        "--prior", type=Path, help="also replay TPE that is told the best configurations of this other file"
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=30, help="of the reference; their epochs are the budget")
    parser.add_argument("--patience", type=float, default=2.0, help="budgets within which a method may arrive")
    parser.add_argument("--workers", type=int, default=1, help="trials side by side")
    parser.add_argument("--cold", action="store_true", help="replayed studies do not begin with the baseline")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    return parser


def chosen_methods(names: Sequence[str], purpose: Purpose) -> dict[str, Play]:
    """Pick methods by name: all to choose, those that are named to report.

    Raises:
        ConfigError: An unknown name.
    """
    known = methods()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"Unknown method {unknown[0]!r}; there are {'; '.join(known)}.")
    wanted = names or (known if purpose == "choose" else ())
    return {name: known[name] for name in dict.fromkeys((*ALWAYS, *wanted))}


def main() -> None:
    """Print the table."""
    parser = _parser()
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.process_time()
    seeds = range(FIRST_SEED[given.purpose], FIRST_SEED[given.purpose] + given.seeds)
    try:
        table = load(given.curves, given.purpose, given.config, given.study, cold=given.cold)
        chosen = chosen_methods(given.methods, given.purpose) | dict(given.add)
        if given.prior is not None:
            chosen["warm-started tpe, median (3, 2)"] = warm_started(Table.load(given.prior))
        print(describe(table, seeds, given.workers), end="\n\n")
        rows, budget = run(table, chosen, seeds, given.trials, given.patience, given.workers)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(markdown(rows, budget))
    weights = dict(zip(table.study.parameters, table.weights.round(3).tolist(), strict=True))
    print(f"\nWeights of the parameters in distances: {weights}. {time.process_time() - started:.0f} s of one core.")
    if given.json is not None:
        content = {"digest": table.header.digest, "budget": budget, "rows": [row.plain() for row in rows]}
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

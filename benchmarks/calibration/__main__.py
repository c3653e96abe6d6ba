"""Simulates confirmations whose truth is known and prints how often the program's statements hold.

    python -m benchmarks.calibration [--short] [--runs N] [--seed S] [--json]

Every statement is made by the functions that `confirm`, the report and the soak use. `before` is the same study read as
earlier versions did (percentile bootstrap on the validation people). A share misses its aim when its own 99% interval does;
then the exit code is 1. `docs/statistics.md` explains the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from benchmarks.calibration.checks import CHECKS, Row

RUNS = 4000
SHORT_RUNS = 300
HEADING = ("statement", "case", "before", "now", "aim", "holds")


def measure(runs: int, seed: int) -> list[Row]:
    """Run every check with a random stream of its own.

    Args:
        runs: Simulated studies per row.
        seed: Of all of them.
    """
    return [row for index, check in enumerate(CHECKS) for row in check(np.random.default_rng([seed, index]), runs)]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a statement does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_RUNS} studies per row instead of {RUNS}")
    parser.add_argument("--runs", type=int, help="studies per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    started = time.process_time()
    rows = measure(chosen.runs or (SHORT_RUNS if chosen.short else RUNS), chosen.seed)
    if chosen.json:
        print(json.dumps([{**vars(row), "now": row.now, "holds": row.holds} for row in rows], indent=2))
    else:
        lines = [HEADING, ("---",) * len(HEADING), *(row.cells() for row in rows)]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        print(f"{rows[0].total} studies per row, seed {chosen.seed}, {time.process_time() - started:.0f} CPU seconds")
    missed = [row for row in rows if not row.holds]
    print(f"{len(missed)} of {len(rows)} statements do not hold", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

"""How true the noise is that a configuration with one recorded training seed gets in a replay.

    python -m benchmarks.search_efficiency.noise benchmarks/search_efficiency/meshhead_choose.jsonl

Every configuration with several seeds, the baseline aside, is reduced to the first of them, by which it was chosen for the
others, and what the table then makes of it is compared with what its seeds gave.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.search_efficiency.curves import Recording, read
from benchmarks.search_efficiency.table import Table


@dataclass(frozen=True)
class LeftOut:
    """A configuration that was reduced to its first seed, in the metric's unit."""

    bias: float  # mean result that the table gives less the mean of its seeds; below 0 is too good
    spread: float  # standard deviation of the results that the table gives
    truth: float  # standard deviation of the results of its seeds, which are all that it can give


def leave_one_out(recording: Recording) -> list[LeftOut]:
    """Reduce every complete repeated configuration but the baseline to its first seed."""
    whole = Table(recording)
    compared = []
    for row, curves in enumerate(whole.curves):
        results = whole.complete(row).min(axis=1)
        if row == 0 or len(results) < 2 or curves[0].status != "complete":
            continue
        others = [curve for curve in recording.curves if curve.index != curves[0].index]
        reduced = Table(Recording(recording.header, [*others, curves[0]]))
        given = [whole.sign * drawn.result for drawn in reduced.candidates[row] if drawn.result is not None]
        compared.append(LeftOut(float(np.mean(given) - results.mean()), float(np.std(given)), float(results.std())))
    return compared


def main() -> None:
    """Print bias and spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    compared = leave_one_out(read(parser.parse_args().curves))
    biases = np.array([one.bias for one in compared])
    spreads = np.sqrt(np.mean([(one.spread**2, one.truth**2) for one in compared], axis=0))
    print(
        f"{len(compared)} repeated configurations, each as if it had its first seed alone: mean result {biases.mean():+.5f} "
        f"(worst {biases[np.abs(biases).argmax()]:+.5f}), standard deviation {spreads[0]:.5f} where seeds have {spreads[1]:.5f} "
        f"(ratio {spreads[0] / spreads[1]:.2f})"
    )


if __name__ == "__main__":
    main()

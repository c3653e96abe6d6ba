"""Is one MeshHead a better start for stage two than another?

    python -m benchmarks.quality.mesh_head_pair CHALLENGER.pt BASELINE.pt FOLDER [--seeds 5] [--epochs N]

Trains the quick GazeGaussian from both with the same seeds and measures every `best.pt` on the test people, whom nothing was chosen
by. Printed: each `val_loss` there and the paired gain with the interval that `confirm` gives. What FOLDER holds is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.quality.on_test_people import FIRST_SEED, METRIC, People, quick_gaze_gaussian, sample, train_and_measure
from gazegaussian.config import with_parameters
from helpers.analysis.paired_gain import paired_gain

LINE = "{:>6}  {:>12}  {:>12}"


def measure(mesh_head: Path, folder: Path, seed: int, epochs: int | None) -> People:
    """Train once and measure by person, or read what was measured before.

    Args:
        mesh_head: Checkpoint of stage one.
        folder: Of this training.
        seed: Of it.
        epochs: None takes the quick configuration's.

    Returns:
        What validation measures, for every test person.
    """
    config = with_parameters(quick_gaze_gaussian(mesh_head), {"seed": seed, **({"epochs": epochs} if epochs else {})})
    return train_and_measure(config, folder)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("challenger", type=Path, help="checkpoint of stage one")
    parser.add_argument("baseline", type=Path, help="checkpoint that it is compared with")
    parser.add_argument("folder", type=Path, help="for the trainings; continued when it is there")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of each training; default: those of the quick configuration")
    given = parser.parse_args()
    people: dict[str, list[People]] = {"challenger": [], "baseline": []}
    print(LINE.format("seed", *people))
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        for name, rows in people.items():
            rows.append(measure(getattr(given, name), given.folder / f"{name}_{seed}", seed, given.epochs))
        print(LINE.format(seed, *(f"{sample(rows[-1:]).values[0]:.5f}" for rows in people.values())), flush=True)
    ours, theirs = map(sample, people.values())
    gain = paired_gain(ours, theirs, 1)
    interval = "no interval" if gain.low is None else f"95% interval {gain.low:.5f} to {gain.high:.5f}"
    print(
        f"gain of the challenger in {METRIC}: {gain.mean:.5f}, {interval} "
        f"({gain.pairs} seeds, {gain.people} test people); it won {gain.won} of {gain.compared}"
    )


if __name__ == "__main__":
    main()

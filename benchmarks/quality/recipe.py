"""Which parts of the quick GazeGaussian's recipe hold on other seeds?

    python -m benchmarks.quality.recipe MESHHEAD.pt FOLDER [--seeds 2] [--first-seed 1000] [--change "code_basis_rank: 0" ...]

Trains the shipped quick configuration and the same with one part changed, all with the same seeds, and measures every
`best.pt` on the test people. Printed: `val_loss` and gaze error there, and how much worse than the shipped recipe the change is,
with the interval that `confirm` gives. What FOLDER holds is not done again, so that seeds and changes can be added.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.quality.on_test_people import FIRST_SEED, METRIC, People, quick_gaze_gaussian, sample, train_and_measure
from gazegaussian.config import GazeGaussianRun, with_parameters
from helpers.analysis.paired_gain import paired_gain

GAZE = "gaze_error_deg"
CHANGES = (
    "code_basis_rank: 0", "code_basis_rank: 144", "focus_subdivisions: 0", "exact_colors: false", "layer_images: true",
    "feature_downscale: 4", "batch_size: 2", "lr_decay: 0.2", "eye_lr_mult: 0.5", "features_lr_mult: 1.0",
    "code_basis_lr_mult: 1.0", "dit_lr_mult: 1.0", "vgg_importance: 0.1", "perceptual_start_epoch: 5",
    "eye_region_importance: 0.0",
)  # fmt: skip
HEADER = (
    "| changed | val_loss | gaze error, deg | worse than shipped by | 95% interval | worse in |",
    "|" + "---|" * 6,
)


def changed(text: str) -> dict[str, Any]:
    """Read `name: value` in YAML, or several in braces."""
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise SystemExit(f'--change: expected NAME: VALUE, got {text!r}; "batch_size: 2" would do')
    return values


def mean(metric: str, rows: Sequence[People]) -> float:
    """Mean of a metric over seeds and people."""
    return statistics.fmean(person[metric] for row in rows for person in row.values())


def line(name: str, rows: Sequence[People], shipped: Sequence[People] | None) -> str:
    """One line of the table."""
    cells = [name, f"{mean(METRIC, rows):.4f}", f"{mean(GAZE, rows):.2f}"]
    if shipped is None:
        cells += ["", "", ""]
    else:
        loss = paired_gain(sample(shipped), sample(rows), 1)
        interval = f"{loss.low:.4f} to {loss.high:.4f}" if loss.low is not None else "none: one seed, or all the same"
        cells += [f"{loss.mean:.4f}", interval, f"{loss.won} of {loss.compared}"]
    return f"| {' | '.join(cells)} |"


def train_all(config: GazeGaussianRun, change: Mapping[str, Any], folder: Path, seeds: Sequence[int]) -> list[People]:
    """Train a changed recipe with every seed, or read what was measured before."""
    name = "_".join(f"{field}={value}" for field, value in change.items()) or "shipped"
    return [
        train_and_measure(with_parameters(config, {**change, "seed": seed}), folder / f"{name}_{seed}")
        for seed in seeds
    ]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mesh_head", type=Path, help="checkpoint of stage one")
    parser.add_argument("folder", type=Path, help="for the trainings; continued when it is there")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, help="others than those that a change was chosen by"
    )
    parser.add_argument("--change", action="append", help="instead of the changes that the recipe is made of")
    given = parser.parse_args()
    config = quick_gaze_gaussian(given.mesh_head)
    changes = {text: changed(text) for text in given.change or CHANGES}
    for change in changes.values():
        with_parameters(config, change)  # rejected before anything is trained
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    shipped = train_all(config, {}, given.folder, seeds)
    print(*HEADER, line("nothing (shipped)", shipped, None), sep="\n", flush=True)
    for text, change in changes.items():
        print(line(f"`{text}`", train_all(config, change, given.folder, seeds), shipped), flush=True)


if __name__ == "__main__":
    main()

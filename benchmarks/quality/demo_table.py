"""What a trained model is worth on people whom it never saw: a table, and a strip of them looking where they are told.

    python -m benchmarks.quality.demo_table demo [--data DIR] [--people 80] [--strip docs/images/demo_strip.png]

Without `--data` the people are test people of the embedded generator, made for this where they are missing. The table calls
the evaluation (`evaluate`), the agreement of commanded gaze (`benchmarks.quality.gaze_agreement`) and the mouth's slope
(`benchmarks.quality.expression`).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.quality.expression import mouth_slope
from benchmarks.quality.gaze_agreement import agreement
from gazegaussian.data import HeadDataset
from gazegaussian.evaluation.protocol import evaluate_checkpoint
from gazegaussian.evaluation.results import Evaluation, Measured
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.training.checkpoints import load_checkpoint
from gazegaussian.utils.image_grid import save_image, spread
from helpers.inference.shipped import describe, is_packed, unseen_people
from helpers.inference.strip import redirection_strip

PEOPLE = 80
PAIRS = 320
STRIP_PEOPLE = 4
STRIP_COMMANDS = ((0.0, -25.0), (0.0, 0.0), (0.0, 25.0), (20.0, 0.0), (-20.0, 0.0))  # pitch and yaw, degrees
GRID_DEG = 20.0
GRID_STEPS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: float | None  # None: not measured
    decimals: int = 2
    interval: tuple[float, float] | None = None
    source: float | None = None  # the same of the source image as it is
    target: str = ""
    note: str = ""

    def cells(self) -> list[str]:
        """Texts of the columns."""
        if self.value is None:
            return [self.what, "not measured", "", "", self.target, self.note]
        interval = "" if self.interval is None else " to ".join(f"{end:.{self.decimals}f}" for end in self.interval)
        source = "" if self.source is None else f"{self.source:.{self.decimals}f}"
        return [self.what, f"{self.value:.{self.decimals}f}", interval, source, self.target, self.note]


COLUMNS = ("", "value", "95% interval", "source image as it is", "target", "")
# Name in the evaluation, title, decimals, target.
EVALUATED = (
    ("psnr", "PSNR, dB", 2, ">= 20"),
    ("gaze_error_deg", "gaze error, degrees", 2, "<= 4"),
    ("head_pose_error_deg", "head pose error, degrees", 2, ""),
    ("ssim", "SSIM", 3, ""),
    ("perceptual", "perceptual distance (judge)", 4, ""),
    ("identity", "SFace similarity, %", 1, ">= 58"),
)
# Name in the agreement, title, decimals.
AGREED = (
    ("pearson_pitch", "commanded pitch, Pearson r", 3),
    ("pearson_yaw", "commanded yaw, Pearson r", 3),
    ("mean_error_deg", "commanded gaze against reading, degrees", 2),
)


def rows_of(
    evaluation: Evaluation, mouth: dict[str, float | None], gaze: dict[str, Measured], judge_error_deg: float
) -> list[Row]:
    """Put the table together.

    Args:
        evaluation: Of `evaluate_checkpoint`.
        mouth: Of `mouth_slope`.
        gaze: Of `agreement`.
        judge_error_deg: Of `agreement`.
    """
    rows = [row_of(title, evaluation.metrics[name], decimals, target) for name, title, decimals, target in EVALUATED]
    rows.append(Row("mouth slope", mouth["mouth_slope"], 2, _ends(mouth["low"], mouth["high"]), None, ">= 0.5"))
    rows.extend(row_of(title, gaze[name], decimals) for name, title, decimals in AGREED)
    rows.append(Row("judge's own error on the real images, degrees", judge_error_deg))
    return rows


def row_of(title: str, one: Measured, decimals: int, target: str = "") -> Row:
    """Make the row of something measured, or of why nothing could."""
    note = "" if one.value is not None else one.by
    return Row(title, one.value, decimals, _ends(one.low, one.high), one.source, target, note)


def _ends(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def as_markdown(rows: list[Row]) -> str:
    """The table as Markdown, without a column that is empty throughout."""
    table = [list(COLUMNS), *(row.cells() for row in rows)]
    kept = [i for i in range(len(COLUMNS)) if any(line[i] for line in table[1:])]
    lines = ["| " + " | ".join(line[i] for i in kept) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(kept), *lines[1:]])


def strip_of(redirector: Redirector, dataset: HeadDataset, people: int = STRIP_PEOPLE) -> torch.Tensor:
    """Draw some people, spread over the data set, from their most frontal images.

    Args:
        redirector: Renders.
        dataset: Held-out people.
        people: How many rows.

    Returns:
        Image in [0, 1]. [3, H, W]
    """
    frontal = dataset.most_frontal()
    chosen = [frontal[i] for i in spread(len(frontal), people)]
    return redirection_strip(redirector, [dataset.batch([row]) for row in chosen], STRIP_COMMANDS)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="demo, another packed model, or a best.pt (with --data)")
    parser.add_argument("--data", type=Path, help="folder of HDF5 subjects [people whom a packed model never saw]")
    parser.add_argument("--split", default="test")
    parser.add_argument("--people", type=int, default=PEOPLE, help="without --data: how many")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of source and target images, spread over the people")
    parser.add_argument("--strip", type=Path, help="write a picture: people x (source image, gazes)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = given.data or unseen_people(given.checkpoint, given.people)
    evaluation = evaluate_checkpoint(given.checkpoint, data, given.pairs, split=given.split)
    redirector = load_redirector(given.checkpoint)
    dataset = HeadDataset(data, given.split, redirector.image_size)
    rows = rows_of(evaluation, mouth_slope(redirector, dataset), *agreement(redirector, dataset, GRID_DEG, GRID_STEPS))
    if given.strip:
        save_image(given.strip, strip_of(redirector, dataset).numpy())
    if given.json:
        values = {row.what: None if row.value is None or math.isnan(row.value) else row.value for row in rows}
        print(json.dumps({"people": evaluation.subjects, "pairs": evaluation.pairs, **values}, indent=2))
        return
    if is_packed(load_checkpoint(given.checkpoint)):
        print(f"{describe(given.checkpoint)}\n")
    people = f"{evaluation.subjects} people ({evaluation.data_set})"
    print(f"{evaluation.pairs} redirections of {people}, {evaluation.image_size} px\n")
    print(as_markdown(rows))
    for note in evaluation.notes:
        print(f"- {note}")


if __name__ == "__main__":
    main()

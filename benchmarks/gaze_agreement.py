"""Does commanded gaze arrive? Renders held-out people over a grid of gazes and lets the judge read them.

    python -m benchmarks.gaze_agreement CHECKPOINT --data DIR [--strip docs/images/redirect_strip.png]

Prints Pearson r per axis and the mean angular error between command and reading, and the judge's own error on the real
images of the same people (what no renderer can beat).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from gazegaussian.build import Redirector, load_redirector
from gazegaussian.data import HeadDataset
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.metrics import gaze_agreement
from gazegaussian.models.frozen import FrozenNetwork, load_frozen
from gazegaussian.training.hooks import save_image
from gazegaussian.types import Batch
from helpers.redirect_strip import redirection_strip

# Pitch and yaw of the picture, degrees.
COMMANDS = ((0.0, -20.0), (0.0, -10.0), (0.0, 0.0), (0.0, 10.0), (0.0, 20.0), (18.0, 0.0), (-18.0, 0.0))


def gaze_grid(limit_deg: float, steps: int) -> torch.Tensor:
    """Pitch and yaw over a square grid, radians. [steps^2, 2]."""
    axis = torch.linspace(-limit_deg, limit_deg, steps).deg2rad()
    return torch.cartesian_prod(axis, axis)


def one_frame_each(dataset: HeadDataset) -> list[int]:
    """First usable image of every subject: the frontal camera of the first frame."""
    rows: dict[str, int] = {}
    for row, subject in enumerate(dataset.subjects):
        rows.setdefault(subject, row)
    return list(rows.values())


def measure(redirector: Redirector, judge: FrozenNetwork, people: list[Batch], grid: torch.Tensor) -> dict[str, float]:
    """Compare commands with the judge's readings over all people."""
    commanded, read = [], []
    for person in people:
        for chunk in grid.split(9):
            images = redirector.image(person, chunk)
            landmarks = person.landmarks_2d.expand(len(chunk), -1, -1)
            with torch.no_grad():
                read.append(judge.gaze(images, landmarks))
            commanded.append(chunk)
    return gaze_agreement(torch.cat(commanded), torch.cat(read))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=float, default=20.0, help="degrees")
    parser.add_argument("--steps", type=int, default=5, help="grid points per axis")
    parser.add_argument("--strip", type=Path, help="write a picture: people x (source image, gazes)")
    arguments = parser.parse_args()

    redirector = load_redirector(arguments.checkpoint)
    judge = load_frozen("judge")
    dataset = HeadDataset(arguments.data, "val", redirector.image_size)
    people = [dataset.batch([row]) for row in one_frame_each(dataset)]
    result = measure(redirector, judge, people, gaze_grid(arguments.limit, arguments.steps))
    rows = list(range(0, len(dataset), max(1, len(dataset) // 200)))
    real = dataset.batch(rows)
    with torch.no_grad():
        reading = judge.gaze(real.image, real.landmarks_2d)
    result["judge_error_on_real_images_deg"] = math.degrees(angular_error(reading, real.parameters.gaze).mean().item())
    print(json.dumps({"people": len(people), "grid_deg": arguments.limit, **result}, indent=2))

    if arguments.strip:
        save_image(arguments.strip, redirection_strip(redirector, people[:4], COMMANDS).numpy())


if __name__ == "__main__":
    main()

"""Does commanded gaze arrive? Renders held-out people over a grid of gazes and lets the judge read them.

    python -m benchmarks.quality.gaze_agreement CHECKPOINT --data DIR [--strip strip.png]

Prints Pearson r per axis and the mean angular error between command and reading, and the judge's own error on the real
images of the same people (what no renderer can beat).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from gazegaussian.data import HeadDataset
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.metrics import gaze_agreement
from gazegaussian.models.frozen import FrozenNetwork, load_frozen
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import save_image
from helpers.inference.strip import redirection_strip

# Pitch and yaw of the picture, degrees.
COMMANDS = ((0.0, -20.0), (0.0, -10.0), (0.0, 0.0), (0.0, 10.0), (0.0, 20.0), (18.0, 0.0), (-18.0, 0.0))


def gaze_grid(limit_deg: float, steps: int) -> torch.Tensor:
    """Pitch and yaw over a square grid, radians. [steps^2, 2]."""
    axis = torch.linspace(-limit_deg, limit_deg, steps).deg2rad()
    return torch.cartesian_prod(axis, axis)


def measure(redirector: Redirector, judge: FrozenNetwork, people: list[Batch], grid: torch.Tensor) -> dict[str, float]:
    """Compare commands with the judge's readings over all people."""
    commanded = []
    read = []
    for person in people:
        for chunk in grid.split(9):
            images = redirector.image(person, chunk)
            landmarks = person.landmarks_2d.expand(len(chunk), -1, -1)
            with torch.no_grad():
                read.append(judge.gaze(images, landmarks))
            commanded.append(chunk)
    return gaze_agreement(torch.cat(commanded), torch.cat(read))


def agreement(redirector: Redirector, dataset: HeadDataset, limit_deg: float, steps: int) -> dict[str, float]:
    """Compare commands with the judge's readings over the most frontal image of everyone in a data set.

    Args:
        redirector: Renders.
        dataset: Held-out people.
        limit_deg: Of the grid of gazes, degrees.
        steps: Grid points per axis.

    Returns:
        What `gaze_agreement` gives, people, and the judge's own error on the real images.
    """
    judge = load_frozen("judge")
    people = [dataset.batch([row]) for row in dataset.most_frontal()]
    result = {"people": float(len(people)), **measure(redirector, judge, people, gaze_grid(limit_deg, steps))}
    real = dataset.batch(list(range(0, len(dataset), max(1, len(dataset) // 200))))
    with torch.no_grad():
        reading = judge.gaze(real.image, real.landmarks_2d)
    result["judge_error_on_real_images_deg"] = math.degrees(angular_error(reading, real.parameters.gaze).mean().item())
    return result


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=float, default=20.0, help="degrees")
    parser.add_argument("--steps", type=int, default=5, help="grid points per axis")
    parser.add_argument("--strip", type=Path, help="write a picture: people x (source image, gazes)")
    arguments = parser.parse_args()

    redirector = load_redirector(arguments.checkpoint)
    dataset = HeadDataset(arguments.data, arguments.split, redirector.image_size)
    result = agreement(redirector, dataset, arguments.limit, arguments.steps)
    print(json.dumps({**result, "people": int(result["people"]), "grid_deg": arguments.limit}, indent=2))

    if arguments.strip:
        people = [dataset.batch([row]) for row in dataset.most_frontal()[:4]]
        save_image(arguments.strip, redirection_strip(redirector, people, COMMANDS).numpy())


if __name__ == "__main__":
    main()

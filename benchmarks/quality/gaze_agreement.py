"""Does commanded gaze arrive? Renders held-out people over a grid of gazes and lets the judge read them.

    python -m benchmarks.quality.gaze_agreement CHECKPOINT --data DIR [--strip strip.png]

Prints Pearson r per axis and the mean angular error between command and reading, with 95% intervals for other people, and the
judge's own error on the real images of the same people (what no renderer can beat).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazegaussian.data import HeadDataset
from gazegaussian.evaluation.results import Measured, jackknife_half, over_subjects
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.models.frozen import FrozenNetwork, load_frozen
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import save_image
from helpers.inference.strip import redirection_strip

# Pitch and yaw of the picture, degrees.
COMMANDS = ((0.0, -20.0), (0.0, -10.0), (0.0, 0.0), (0.0, 10.0), (0.0, 20.0), (18.0, 0.0), (-18.0, 0.0))
FLAT = 1e-12  # standard deviation from which on values vary, rad
LARGEST_R = 1 - 1e-12  # Fisher's z of 1 is infinite


def gaze_grid(limit_deg: float, steps: int) -> Tensor:
    """Pitch and yaw over a square grid, radians. [steps^2, 2]."""
    axis = torch.linspace(-limit_deg, limit_deg, steps).deg2rad()
    return torch.cartesian_prod(axis, axis)


def follow(commanded: Tensor, read: Tensor) -> dict[str, Measured]:
    """How well readings follow commands, with 95% intervals for other people (Student t of the jackknife).

    Args:
        commanded: Pitch and yaw, the same for everyone, rad. [G, 2]
        read: The same, as read from everyone's renders, rad. [P, G, 2]

    Returns:
        pearson_pitch and pearson_yaw (intervals on Fisher's z; NaN where nothing varies), mean_error_deg; no intervals with one
        person, nor where all are alike.
    """
    everyone = commanded.expand_as(read)
    x, y = everyone.double().numpy(), read.double().numpy()
    errors = angular_error(everyone.flatten(0, 1), read.flatten(0, 1)).rad2deg()
    return {
        "pearson_pitch": _correlation(x[..., 0], y[..., 0]),
        "pearson_yaw": _correlation(x[..., 1], y[..., 1]),
        "mean_error_deg": over_subjects(
            errors.tolist(), np.repeat(np.arange(len(read)), len(commanded)).tolist(), by="judge"
        ),
    }


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> Measured:
    """Pearson r over all values, a row per person. [P, G]."""
    if min(x.std(), y.std()) < FLAT:
        return Measured(math.nan, by="judge")

    def z(rows: NDArray[np.intp]) -> float:
        r = np.corrcoef(x[rows].ravel(), y[rows].ravel())[0, 1]
        return math.atanh(np.clip(r, -LARGEST_R, LARGEST_R))

    everyone = np.arange(len(x))
    middle = z(everyone)
    if len(x) < 2:
        return Measured(math.tanh(middle), by="judge")
    half = jackknife_half(np.array([z(np.delete(everyone, person)) for person in everyone]))
    if half is None:
        return Measured(math.tanh(middle), by="judge")
    return Measured(math.tanh(middle), math.tanh(middle - half), math.tanh(middle + half), "judge")


def measure(redirector: Redirector, judge: FrozenNetwork, people: list[Batch], grid: Tensor) -> dict[str, Measured]:
    """Compare commands with the judge's readings over all people."""
    read = []
    for person in people:
        landmarks = person.landmarks_2d
        with torch.no_grad():
            chunks = [
                judge.gaze(redirector.image(person, chunk), landmarks.expand(len(chunk), -1, -1))
                for chunk in grid.split(9)
            ]
        read.append(torch.cat(chunks))
    return follow(grid, torch.stack(read))


def agreement(
    redirector: Redirector, dataset: HeadDataset, limit_deg: float, steps: int
) -> tuple[dict[str, Measured], float]:
    """Compare commands with the judge's readings over the most frontal image of everyone in a data set.

    Args:
        redirector: Renders.
        dataset: Held-out people.
        limit_deg: Of the grid of gazes, degrees.
        steps: Grid points per axis.

    Returns:
        What `follow` gives, and the judge's own mean error on the real images, degrees.
    """
    judge = load_frozen("judge")
    people = [dataset.batch([row]) for row in dataset.most_frontal()]
    result = measure(redirector, judge, people, gaze_grid(limit_deg, steps))
    real = dataset.batch(list(range(0, len(dataset), max(1, len(dataset) // 200))))
    with torch.no_grad():
        reading = judge.gaze(real.image, real.landmarks_2d)
    return result, math.degrees(angular_error(reading, real.parameters.gaze).mean().item())


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
    result, judge_error = agreement(redirector, dataset, arguments.limit, arguments.steps)
    print(
        f"{len(dataset.most_frontal())} people, {arguments.steps} x {arguments.steps} gazes up to {arguments.limit:g} degrees"
    )
    for name, one in result.items():
        interval = (
            "no interval: one person, or all alike"
            if one.low is None
            else f"95% interval {one.low:.3f} to {one.high:.3f}"
        )
        print(f"{name} {one.value:.3f}, {interval}")
    print(f"the judge's own error on the real images: {judge_error:.2f} degrees")

    if arguments.strip:
        people = [dataset.batch([row]) for row in dataset.most_frontal()[:4]]
        save_image(arguments.strip, redirection_strip(redirector, people, COMMANDS).numpy())


if __name__ == "__main__":
    main()

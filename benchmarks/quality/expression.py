"""Does expression arrive? How dark the mouth of a render is, against how dark it is in the image to be matched.

    python -m benchmarks.quality.expression CHECKPOINT --data DIR [--split val]

An open mouth is dark between the lips. Every image of the held-out people is rendered with its own expression, gaze, pose and
camera and with the identity code of another image of the same person. The slope of the render's darkness on the true one, both
less the person's mean, is 1 where expression arrives in full and 0 where it does not; its 95% interval comes from a jackknife
over people (Student's t).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from gazegaussian.data import HeadDataset, redirection_pairs
from gazegaussian.evaluation.results import jackknife_half
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.training.gaze_gaussian_stage import redirection_batch

LIPS = slice(48, 60)  # outer contour
CHUNK = 8


def mouth_mask(landmarks: NDArray[np.floating], size: int) -> NDArray[np.bool_]:
    """Pixels inside the lips' outer contour. [12, 2] -> [H, W]."""
    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in landmarks], fill=1)
    return np.asarray(picture, dtype=bool)


def darkness(images: Tensor, landmarks: Tensor) -> NDArray[np.floating]:
    """1 - mean brightness inside the lips. [B, 3, H, W], [B, 68, 2] -> [B]."""
    brightness = images.mean(1).cpu().numpy()
    masks = [mouth_mask(points[LIPS].cpu().numpy(), images.shape[-1]) for points in landmarks]
    return np.array(
        [1 - (image[mask].mean() if mask.any() else np.nan) for image, mask in zip(brightness, masks, strict=True)]
    )


def within_people(values: NDArray[np.floating], people: NDArray[np.integer]) -> NDArray[np.floating]:
    """Values less the mean of their person. [N]."""
    means = np.bincount(people, values) / np.bincount(people)
    return values - means[people]


def slope_with_interval(
    true: NDArray[np.floating], rendered: NDArray[np.floating], people: NDArray[np.integer]
) -> tuple[float, float | None, float | None]:
    """Slope of rendered on true darkness within people and its 95% interval; None where all people have the same slope.

    Args:
        true: Of the images. [N]
        rendered: Of the renders. [N]
        people: Person of each, 0 to P - 1. [N]
    """
    x = within_people(true, people)
    y = within_people(rendered, people)
    products = np.bincount(people, x * y)
    squares = np.bincount(people, x * x)
    slope = products.sum() / squares.sum()
    half = jackknife_half((products.sum() - products) / (squares.sum() - squares))
    return (float(slope), None, None) if half is None else (float(slope), float(slope - half), float(slope + half))


def mouth_slope(redirector: Redirector, dataset: HeadDataset, per_person: int = 8) -> dict[str, float | None]:
    """Measure the slope on people of a data set.

    Args:
        redirector: Renders.
        dataset: Held-out people.
        per_person: Images of a person that are rendered, at most.

    Returns:
        people, images, mouth_slope, and low and high of its 95% interval (None where there is none).
    """
    pairs = redirection_pairs(dataset, per_person, seed=0)
    true = []
    rendered = []
    for start in range(0, len(pairs), CHUNK):
        batch = redirection_batch(dataset, pairs[start : start + CHUNK])
        true.append(darkness(batch.image, batch.landmarks_2d))
        rendered.append(darkness(redirector.image(batch), batch.landmarks_2d))
    seen = np.concatenate(true), np.concatenate(rendered)
    usable = np.isfinite(seen[0]) & np.isfinite(seen[1])
    subjects = np.array([dataset.subjects[target] for _, target in pairs])[usable]
    people = np.unique(subjects, return_inverse=True)[1]
    slope, low, high = slope_with_interval(seen[0][usable], seen[1][usable], people)
    return {
        "people": int(people.max()) + 1,
        "images": int(usable.sum()),
        "mouth_slope": slope,
        "low": low,
        "high": high,
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--per-person", type=int, default=8, help="images of a person that are rendered, at most")
    arguments = parser.parse_args()

    redirector = load_redirector(arguments.checkpoint)
    dataset = HeadDataset(arguments.data, arguments.split, redirector.image_size)
    result = mouth_slope(redirector, dataset, arguments.per_person)
    ends = [result.pop("low"), result.pop("high")]
    print(json.dumps({**result, "interval": None if None in ends else ends}, indent=2))


if __name__ == "__main__":
    main()

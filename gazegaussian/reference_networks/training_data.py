"""Training images of the frozen networks: many people and gazes, few cameras per frame, kept as crops.

The guide, the judge and the held-out test use different seeds, hence different people; studies use seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gazegaussian.data.synthetic.generator import SyntheticSettings, render_frames
from gazegaussian.data.synthetic.rig import CAMERAS
from gazegaussian.dimensions import EXPRESSION_DIM, IDENTITY_DIM
from gazegaussian.models.eye_crop import crop_eyes, layout
from gazegaussian.utils.progress import progress as show_progress

SEEDS = {"guide": 1001, "judge": 2002, "test": 3003}
IMAGE_SIZE = 256
FACE_SIZE = 128
CROP_ZOOM = 1.375  # crops are kept larger than the network sees, for shifts and rotations


@dataclass(frozen=True)
class FrozenData:
    """Crops and labels, one row per image."""

    eyes: Tensor  # [N, 6, 55, 88] u8
    faces: Tensor  # [N, 3, 128, 128] u8
    layout: Tensor  # [N, 30, 2] steady landmarks, normalised
    gaze: Tensor  # [N, 2] rad, head frame
    head: Tensor  # [N, 2] rad, camera frame
    codes: Tensor  # [N, 144]


def make_frozen_data(seed: int, people: int, frames: int, cameras: int, progress: bool = True) -> FrozenData:
    """Render people of a seed, each frame by `cameras` of the rig's 18 drawn at random.

    Args:
        seed: Decides the people.
        people: How many.
        frames: Gazes, expressions and head poses per person.
        cameras: Views per frame.
        progress: Show how far it is.
    """
    settings = SyntheticSettings(people, IMAGE_SIZE, seed, frames)
    columns: dict[str, list[Tensor]] = {field.name: [] for field in fields(FrozenData)}
    for person in show_progress(range(people), "people", show=progress):
        rng = np.random.default_rng([seed, person, 1])
        chooser = partial(_random_cameras, rng, cameras)
        for views in render_frames(settings, person, chooser):
            image = torch.from_numpy(views["face_patch"][..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
            landmarks = torch.from_numpy(views["facial_landmarks"]).float()
            eyes = crop_eyes(image, landmarks, CROP_ZOOM)
            faces = torch.nn.functional.interpolate(image, size=FACE_SIZE, mode="area")
            columns["eyes"].append((eyes * 255).round().byte())
            columns["faces"].append((faces * 255).round().byte())
            columns["layout"].append(layout(landmarks)[0])
            for name, key in (("gaze", "pitchyaw_head"), ("head", "face_head_pose")):
                columns[name].append(torch.from_numpy(np.asarray(views[key])).float())
            codes = torch.from_numpy(np.asarray(views["latent_codes"])).float()[:, : IDENTITY_DIM + EXPRESSION_DIM]
            columns["codes"].append(codes)
    return FrozenData(**{name: torch.cat(rows) for name, rows in columns.items()})


def _random_cameras(rng: np.random.Generator, count: int) -> list[int]:
    return rng.permutation(CAMERAS)[:count].tolist()


def save_frozen_data(path: Path, data: FrozenData) -> None:
    """Keep the data for another training."""
    np.savez(path, **{field.name: getattr(data, field.name).numpy() for field in fields(data)})


def load_frozen_data(path: Path) -> FrozenData:
    """Read what `save_frozen_data` wrote."""
    with np.load(path, allow_pickle=False) as content:
        return FrozenData(**{field.name: torch.from_numpy(content[field.name]) for field in fields(FrozenData)})

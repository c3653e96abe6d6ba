"""What the sliders show: people of a data set, drawn by trained models with commanded gaze and head pose.

Angles are degrees, pitch up and yaw to the right of the image positive: of the gaze in the head, of the head in the world of
the data set (for the synthetic heads the axes of the frontal camera).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from math import degrees
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gazegaussian.build import Judge, cpu_threads
from gazegaussian.data import HeadDataset, load_split
from gazegaussian.data.published_sets import find_set
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.data.synthetic.generator import GAZE_PITCH, GAZE_YAW, HEAD_PITCH_DEG, HEAD_YAW_DEG
from gazegaussian.geometry.cameras import project_points
from gazegaussian.geometry.heads import facing, head_to_world, turned_to, world_to_head
from gazegaussian.inference import load_redirector
from gazegaussian.training.checkpoint_files import checkpoint_file
from gazegaussian.types import Batch, HeadParameters
from gazegaussian.utils.image_grid import captioned, to_pixels
from helpers.utils.formatting import signed_degrees

KEPT_IMAGES = 64  # per model: going back to where a slider was costs nothing
LANDMARKS = 68
LEAST_WIDTH = 10  # degrees: labels that hardly differ still leave a slider a way to go
READABLE = 256  # pixels: narrower columns have no room for their labels


@dataclass(frozen=True)
class Angles:
    """Gaze and head pose, degrees."""

    gaze_pitch: float
    gaze_yaw: float
    head_pitch: float
    head_yaw: float

    def radians(self) -> tuple[Tensor, Tensor]:
        """Gaze and head direction, (pitch, yaw). Each [1, 2]."""
        values = torch.deg2rad(torch.tensor([astuple(self)]))
        return values[:, :2], values[:, 2:]

    @classmethod
    def of(cls, parameters: HeadParameters) -> Angles:
        """Angles of a head, in whole degrees, as sliders have them."""
        both = torch.cat([parameters.gaze, facing(parameters.pose)], dim=-1)[0]
        return cls(*both.rad2deg().round().tolist())


Limits = dict[str, tuple[int, int]]  # of the fields of `Angles`, whole degrees


@dataclass(frozen=True)
class Drawn:
    """One image of one model."""

    pixels: NDArray[np.uint8]  # [H, W, 3]
    png: bytes
    reading: tuple[float, float] | None  # gaze that the judge sees in it: pitch and yaw, degrees


class People:
    """The people of a data set and their images.

    Args:
        root: Folder of HDF5 subjects.
        unseen: Its test people alone, for a model that was trained with other files of the same generator.

    Attributes:
        names: File name of everyone by the name to show; held-out people first.
    """

    def __init__(self, root: Path, unseen: bool = False) -> None:
        self.root = Path(root)
        self.unseen = unseen
        splits = load_split(root)
        held_out, seen = (splits["test"], []) if unseen else (splits["val"], splits["train"])
        self.names = {f"{Path(key).stem} (held out)": key for key in held_out}
        self.names |= {f"{Path(key).stem} (seen in training)": key for key in seen}
        self._images = functools.lru_cache(maxsize=16)(self._open)
        self._batch = functools.lru_cache(maxsize=KEPT_IMAGES)(self._decode)

    def frames(self, key: str, size: int) -> list[str]:
        """Describe the images of a person, in their order."""
        images = self._images(key, size)
        gaze = np.degrees(images.gaze)
        return [
            f"{row}: camera {images.cameras[row]}, gaze pitch {signed_degrees(pitch)}, yaw {signed_degrees(yaw)}"
            for row, (pitch, yaw) in enumerate(gaze)
        ]

    def most_frontal(self, key: str, size: int) -> int:
        """Row of the image in which a person looks into the camera."""
        return self._images(key, size).most_frontal()[0]

    def batch(self, key: str, frame: int, size: int) -> Batch:
        """Labels and pixels of one image, decoded once."""
        return self._batch(key, frame, size)

    def limits(self) -> Limits:
        """Smallest and largest angles among the training people, whole degrees, at least `LEAST_WIDTH` apart."""
        if self.unseen:
            ends = (degrees(GAZE_PITCH), degrees(GAZE_YAW), HEAD_PITCH_DEG, HEAD_YAW_DEG)
            return {field.name: (-round(end), round(end)) for field, end in zip(fields(Angles), ends, strict=True)}
        angles = []
        prefix = find_set(self.root).prefix
        for key in load_split(self.root, prefix)["train"]:
            file = SubjectFile(self.root / f"{prefix}{key}")
            gaze, pose = (torch.from_numpy(file.read(name, slice(None))).float() for name in ("pitchyaw_head", "pose"))
            angles.append(torch.cat([gaze, facing(pose)], dim=-1).rad2deg())
            file.close()
        labels = torch.cat(angles)
        names = [field.name for field in fields(Angles)]
        return {name: _ends(*column.aminmax()) for name, column in zip(names, labels.T, strict=True)}

    def _open(self, key: str, size: int) -> HeadDataset:
        return HeadDataset(self.root, [key], size)

    def _decode(self, key: str, frame: int, size: int) -> Batch:
        return self._images(key, size).batch([frame])


class Renderer:
    """Draws people with one model.

    Args:
        checkpoint: Of a GazeGaussian.
        title: What to call it.
        people: Whom to draw.
        judge: Reads the gaze in what is drawn; None where it knows no such images.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: Checkpoint or device cannot be used.
    """

    def __init__(
        self, checkpoint: Path, title: str, people: People, judge: Judge | None = None, device: str = "auto"
    ) -> None:
        self.checkpoint = Path(checkpoint)
        self.title = title
        self.people = people
        self.judge = judge
        self._redirector = load_redirector(self.checkpoint, device)
        self._drawn = functools.lru_cache(maxsize=KEPT_IMAGES)(self._draw)

    @property
    def name(self) -> str:
        """What files call it: a packed model by its own name, a checkpoint by its training's and its study's."""
        path = checkpoint_file(self.checkpoint).resolve()
        return path.stem if path.suffix != ".pt" else "_".join(path.parts[-3:-1])

    @property
    def size(self) -> int:
        """Width and height of its images, pixels."""
        return self._redirector.image_size

    def draw(self, key: str, frame: int, angles: Angles) -> Drawn:
        """Draw a person, or take the image from the last `KEPT_IMAGES` ones.

        Args:
            key: File name of the person.
            frame: Whose expression, light and camera.
            angles: Commanded.
        """
        return self._drawn(key, frame, angles)

    @torch.no_grad()
    def _draw(self, key: str, frame: int, angles: Angles) -> Drawn:
        batch = self.people.batch(key, frame, self.size)
        gaze, direction = angles.radians()
        pose = turned_to(batch.parameters.pose, direction)
        reading = None
        with cpu_threads(1):  # one image is little work, and two threads wait for each other while a study runs beside
            image = self._redirector.image(batch, gaze, pose)
            if self.judge is not None:
                pitch, yaw = self.judge.gaze(image, moved_landmarks(batch, pose))[0].rad2deg().tolist()
                reading = (pitch, yaw)
        pixels = to_pixels(image[0])
        return Drawn(pixels, encode_png(pixels), reading)


def _ends(low: Tensor, high: Tensor) -> tuple[int, int]:
    """Whole degrees that a slider goes between."""
    lacking = max(0.0, LEAST_WIDTH - (high - low).item()) / 2
    return round(low.item() - lacking), round(high.item() + lacking)


def moved_landmarks(batch: Batch, pose: Tensor) -> Tensor:
    """Move the landmarks of images along when heads turn; what their detector was off by stays.

    Args:
        batch: Images with their labels.
        pose: New poses. [B, 6]

    Returns:
        Pixels. [B, 68, 2]
    """
    labels = batch.parameters
    before = batch.landmarks_3d[:, :LANDMARKS]
    after = head_to_world(world_to_head(before, labels.pose, labels.scale), pose, labels.scale)
    return batch.landmarks_2d + project_points(after, batch.cameras) - project_points(before, batch.cameras)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Write pixels [H, W, 3] as PNG, quickly rather than small."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def side_by_side(images: Sequence[NDArray[np.uint8]], labels: Sequence[str]) -> Image.Image:
    """Put square images beside each other at the size of the largest, each under its label."""
    side = max(READABLE, *(image.shape[0] for image in images))
    resized = [Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in images]
    return captioned(resized, labels)

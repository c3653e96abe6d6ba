"""Rendering a person with commanded gaze, from files to a file."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from gazegaussian.build import Redirector, load_redirector
from gazegaussian.data import HeadDataset
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.evaluation.fitted_pose import with_fitted_poses
from gazegaussian.training.hooks import save_image
from gazegaussian.training.images import image_grid, with_header
from gazegaussian.types import Batch

logger = logging.getLogger(__name__)

LARGEST_DEG = 90  # beyond it the eyes would look into the head


def redirect(
    checkpoint: Path,
    data: Path,
    subject: str,
    frame: int,
    pitch: Sequence[float],
    yaw: Sequence[float],
    out: Path,
    device: str = "auto",
) -> Path:
    """Render a person with commanded gaze.

    Args:
        checkpoint: GazeGaussian checkpoint.
        data: Folder of HDF5 subjects.
        subject: Key, such as `subject0004`.
        frame: Row among the subject's usable images.
        pitch: Degrees, -90 to 90, up positive; repeated for a strip.
        yaw: Degrees, -90 to 90, to the right of the image positive; as many as pitches, or one for all.
        out: PNG file; several gazes give a strip that begins with the source image.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        `out`.

    Raises:
        UserError: Checkpoint, data, subject or frame cannot be used.
    """
    count = max(len(pitch), len(yaw))
    if not count or any(len(values) not in (1, count) for values in (pitch, yaw)):
        raise ConfigError(f"Give as many --pitch as --yaw (or one for all), not {len(pitch)} and {len(yaw)}.")
    pitches, yaws = (list(values) * (count if len(values) == 1 else 1) for values in (pitch, yaw))
    for name, values in (("--pitch", pitches), ("--yaw", yaws)):
        for value in values:
            if not abs(value) <= LARGEST_DEG:
                raise ConfigError(f"{name} takes -{LARGEST_DEG} to {LARGEST_DEG} degrees, not {value:g}.")
    if Path(out).suffix.lower() != ".png":
        raise ConfigError(f"--out must name a PNG file, such as {Path(out).stem or 'strip'}.png, not {out}.")
    redirector = load_redirector(checkpoint, device)
    _warn_beyond_training(redirector, {"pitch": pitches, "yaw": yaws})
    key = subject if subject.endswith(".h5") else f"{subject}.h5"
    dataset = HeadDataset(data, [key], redirector.image_size, for_training=False)
    if not 0 <= frame < len(dataset):
        raise DataError(f"{subject} has images 0 to {len(dataset) - 1}; there is no frame {frame}.")
    _warn_of_size(dataset.stored_size(frame), redirector.image_size)
    commands, person = list(zip(pitches, yaws, strict=True)), dataset.batch([frame])
    if not dataset.posed:
        person, residual = with_fitted_poses(redirector.model, person)
        logger.warning("%s holds no head pose; one is fitted to its landmarks (%.1f px off)", key, residual.item())
    if count > 1:
        image = redirection_strip(redirector, [person], commands)
    else:
        image = redirector.image(person, torch.tensor(commands).deg2rad())[0]
    save_image(Path(out), image.numpy())
    return Path(out)


def redirection_strip(
    redirector: Redirector, people: Sequence[Batch], commands: Sequence[tuple[float, float]]
) -> torch.Tensor:
    """Draw a row per person: the source image, then that person with every commanded gaze, under captions.

    Args:
        redirector: Renders.
        people: Batches of one.
        commands: Pitch and yaw, degrees.

    Returns:
        Image in [0, 1]. [3, H, W]
    """
    gaze = torch.tensor(commands).deg2rad()
    rows = [torch.cat([person.image, redirector.image(person, gaze)]) for person in people]
    return with_header(image_grid(rows), ["source", *(f"yaw {yaw:g}°, pitch {pitch:g}°" for pitch, yaw in commands)])


def _warn_of_size(stored: int, trained: int) -> None:
    if stored != trained:
        logger.warning(
            "the data's images have %d px, the checkpoint was trained at %d: they are resized, and softer or coarser than "
            "what training saw",
            stored,
            trained,
        )


def _warn_beyond_training(redirector: Redirector, asked: Mapping[str, Sequence[float]]) -> None:
    """Say where the model has to guess."""
    for (name, values), limit in zip(asked.items(), redirector.trained_gaze or (), strict=False):
        largest, seen = max(values, key=abs), math.degrees(limit)
        if abs(largest) > seen:
            logger.warning("%s %g degrees is beyond the +-%.0f degrees that training saw", name, largest, seen)

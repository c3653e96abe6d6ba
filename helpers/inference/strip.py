"""A person with commanded gaze, or several beside each other, drawn by a trained model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from gazegaussian.data import HeadDataset
from gazegaussian.evaluation.fitted_pose import with_fitted_poses
from gazegaussian.inference import Redirector, load_redirector
from gazegaussian.types import Batch
from gazegaussian.utils.image_grid import image_grid, save_image, with_header

logger = logging.getLogger(__name__)


def render_file(
    checkpoint: Path,
    data: Path,
    key: str,
    frame: int,
    commands: Sequence[tuple[float, float]],
    out: Path,
    device: str = "auto",
) -> None:
    """Render a person with commanded gaze (see `helpers.redirect`, which looks at what it is given first).

    Args:
        checkpoint: GazeGaussian checkpoint.
        data: Folder of HDF5 subjects.
        key: File name of the subject.
        frame: Row among the subject's usable images.
        commands: Pitch and yaw, degrees; several give a strip.
        out: PNG file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: Checkpoint or device cannot be used.
    """
    redirector = load_redirector(checkpoint, device)
    _warn_beyond_training(redirector, commands)
    dataset = HeadDataset(data, [key], redirector.image_size, for_training=False)
    _warn_of_size(dataset.stored_size(frame), redirector.image_size)
    person = dataset.batch([frame])
    if not dataset.posed:
        person, residual = with_fitted_poses(redirector.model, person)
        logger.warning("%s holds no head pose; one is fitted to its landmarks (%.1f px off)", key, residual.item())
    if len(commands) > 1:
        image = redirection_strip(redirector, [person], commands)
    else:
        image = redirector.image(person, torch.tensor(commands).deg2rad())[0]
    save_image(out, image.numpy())


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
    return with_header(
        image_grid(rows), ["source", *(f"yaw {yaw + 0.0:g}°, pitch {pitch + 0.0:g}°" for pitch, yaw in commands)]
    )


def _warn_of_size(stored: int, trained: int) -> None:
    if stored != trained:
        logger.warning(
            "the data's images have %d px, the checkpoint was trained at %d: they are resized, and softer or coarser than "
            "what training saw",
            stored,
            trained,
        )


def _warn_beyond_training(redirector: Redirector, commands: Sequence[tuple[float, float]]) -> None:
    """Say where the model has to guess."""
    columns = zip(("pitch", "yaw"), zip(*commands, strict=True), redirector.trained_gaze or (), strict=False)
    for name, values, limit in columns:
        largest = max(values, key=abs)
        seen = math.degrees(limit)
        if abs(largest) > seen:
            logger.warning("%s %g degrees is beyond the +-%.0f degrees that training saw", name, largest, seen)

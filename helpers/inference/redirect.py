"""The verbs that render a person: what they are given is looked at before torch is imported and a model loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from gazegaussian.data.pixels import usable_rows
from gazegaussian.data.published_sets import find_set
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.training.checkpoint_files import require_checkpoint
from gazegaussian.utils.own_output import require_own_output

logger = logging.getLogger(__name__)

LARGEST_DEG = 90  # beyond it the eyes would look into the head
MOST_NAMED = 5  # subjects in a message


def redirect(
    checkpoint: Path,
    data: Path | None,
    subject: str,
    frame: int,
    pitch: Sequence[float],
    yaw: Sequence[float],
    out: Path,
    device: str = "auto",
) -> Path:
    """Render a person with commanded gaze.

    Args:
        checkpoint: GazeGaussian checkpoint, or `demo`, the one that comes with the program.
        data: Folder of HDF5 subjects; None: for a packed model, as `demo` is one, synthetic people whom it never saw.
        subject: Key, such as `subject0004`.
        frame: Row among the subject's usable images.
        pitch: Degrees, -90 to 90, up positive; repeated for a strip.
        yaw: Degrees, -90 to 90, to the right of the image positive; as many as pitches, or one for all.
        out: PNG file; several gazes give a strip that begins with the source image.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        `out`.

    Raises:
        UserError: Checkpoint, data, subject, frame, angles, `out` or device cannot be used.
    """
    commands = _commands(pitch, yaw)
    _require_target(Path(out), ".png")
    require_checkpoint(Path(checkpoint))
    folder = folder_of_subjects(Path(checkpoint), data)
    key = _person(folder, subject, frame)
    logger.info("%s: loading torch and the renderers", out)
    from helpers.inference.strip import render_file

    render_file(Path(checkpoint), folder, key, frame, commands, Path(out), device)
    return Path(out)


def save_sweep(
    checkpoint: Path, data: Path | None, subject: str, frame: int, sweep: str, out: Path, device: str = "auto"
) -> list[Path]:
    """Draw a person with a sweep of gaze or head; write a GIF, and an MP4 beside it where ffmpeg is found.

    Args:
        checkpoint: GazeGaussian checkpoint, or `demo`, the one that comes with the program.
        data: Folder of HDF5 subjects; None: for a packed model, as `demo` is one, synthetic people whom it never saw.
        subject: Key, such as `subject0004`.
        frame: Row among the subject's usable images.
        sweep: One of `helpers.inference.animation.SWEEPS`.
        out: GIF file.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        What was written.

    Raises:
        UserError: Checkpoint, data, subject, frame, sweep, `out` or device cannot be used.
    """
    _require_target(Path(out), ".gif")
    require_checkpoint(Path(checkpoint))
    folder = folder_of_subjects(Path(checkpoint), data)
    key = _person(folder, subject, frame)
    logger.info("%s: loading torch and the renderers", out)
    from helpers.inference.animation import draw_sweep

    return draw_sweep(Path(checkpoint), folder, key, frame, sweep, Path(out), device, unseen=data is None)


def folder_of_subjects(checkpoint: Path, data: Path | None) -> Path:
    """Folder of subjects; without one, of people whom a packed model never saw."""
    if data is not None:
        return Path(data)
    from helpers.inference.shipped import unseen_people  # torch

    return unseen_people(checkpoint)


def _commands(pitch: Sequence[float], yaw: Sequence[float]) -> list[tuple[float, float]]:
    """Pair pitches and yaws, degrees."""
    count = max(len(pitch), len(yaw))
    if not count or any(len(values) not in (1, count) for values in (pitch, yaw)):
        raise ConfigError(f"Give as many --pitch as --yaw (or one for all), not {len(pitch)} and {len(yaw)}.")
    for name, values in (("--pitch", pitch), ("--yaw", yaw)):
        for value in values:
            if not abs(value) <= LARGEST_DEG:
                raise ConfigError(f"{name} takes -{LARGEST_DEG} to {LARGEST_DEG} degrees, not {value:g}.")
    pitches, yaws = (list(values) * (count if len(values) == 1 else 1) for values in (pitch, yaw))
    return list(zip(pitches, yaws, strict=True))


def _require_target(out: Path, suffix: str) -> None:
    """Reject a file that could not be written, or whose name says that it is of another kind."""
    kind = suffix[1:].upper()
    if out.suffix.lower() != suffix:
        raise ConfigError(f"--out must name a {kind} file, such as {out.stem or 'gaze'}{suffix}, not {out}.")
    if out.is_dir():
        raise ConfigError(f"--out must name a {kind} file, {out} is a folder: name a file in it.")
    require_own_output(out)
    if suffix == ".gif":
        require_own_output(out.with_suffix(".mp4"))  # lands beside it
    above = next(folder for folder in out.absolute().parents if folder.exists())  # what lacks is made later
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        why = "cannot be written to" if above.is_dir() else "is a file"
        raise ConfigError(f"--out must name a file in a folder that can be written, {above} {why}: name another.")


def _person(data: Path, subject: str, frame: int) -> str:
    """File name, without the data set's prefix, of a subject that has this frame."""
    prefix = find_set(data).prefix
    key = f"{subject.removesuffix('.h5').removeprefix(prefix)}.h5"
    path = data / f"{prefix}{key}"
    if not path.is_file():
        there = sorted(file.stem.removeprefix(prefix) for file in data.glob(f"{prefix}*.h5"))
        more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
        raise DataError(f"{data} has no subject {subject!r}; it has {', '.join(there[:MOST_NAMED])}{more}.")
    file = SubjectFile(path, for_training=False)
    count = len(usable_rows(file))
    file.close()
    if not 0 <= frame < count:
        has = f"images 0 to {count - 1}" if count else "no usable image"
        raise DataError(f"{subject} has {has}; there is no frame {frame}.")
    return key

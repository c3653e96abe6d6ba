"""Sweeps of gaze or head, written as GIF by Pillow and as MP4 where an ffmpeg is at hand."""

from __future__ import annotations

import importlib
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from gazegaussian.errors import ConfigError
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.own_output import MARK
from gazegaussian.utils.progress import progress
from helpers.inference.scene import Angles, Limits, People, Renderer

FRAMES = 24
FRAMES_PER_SECOND = 12
REACH = 0.9  # of what training saw: at its very border there were few examples


def _between(limits: tuple[int, int], position: float) -> float:
    """A place from -1 to 1 between limits, degrees."""
    low, high = limits
    return (low + high) / 2 + REACH * position * (high - low) / 2


def _circle(start: Angles, limits: Limits, turn: float) -> Angles:
    return replace(
        start,
        gaze_pitch=_between(limits["gaze_pitch"], math.sin(turn)),
        gaze_yaw=_between(limits["gaze_yaw"], math.cos(turn)),
    )


def _gaze_aside(start: Angles, limits: Limits, turn: float) -> Angles:
    return replace(start, gaze_yaw=_between(limits["gaze_yaw"], -math.cos(turn)))


def _head_aside(start: Angles, limits: Limits, turn: float) -> Angles:
    return replace(start, head_yaw=_between(limits["head_yaw"], -math.cos(turn)))


SWEEPS: dict[str, Callable[[Angles, Limits, float], Angles]] = {
    "gaze-circle": _circle,
    "gaze-left-right": _gaze_aside,
    "head-left-right": _head_aside,
}


def sweep_angles(sweep: str, start: Angles, limits: Limits, frames: int = FRAMES) -> list[Angles]:
    """Angles of a sweep that ends where it began; what it does not move stays as at the start.

    Args:
        sweep: One of `SWEEPS`.
        start: Angles of what stays.
        limits: What training saw.
        frames: How many.

    Raises:
        ConfigError: Unknown sweep, or fewer than two frames.
    """
    if sweep not in SWEEPS or frames < 2:
        raise ConfigError(
            f"Expected one of the sweeps {', '.join(SWEEPS)} with 2 frames or more, got {sweep}, {frames}."
        )
    return [SWEEPS[sweep](start, limits, 2 * math.pi * i / frames) for i in range(frames)]


def draw_sweep(
    checkpoint: Path,
    data: Path,
    key: str,
    frame: int,
    sweep: str,
    out: Path,
    device: str = "auto",
    unseen: bool = False,
) -> list[Path]:
    """Draw a person with a sweep of gaze or head (see `helpers.save_sweep`, which looks at what it is given first).

    Args:
        checkpoint: GazeGaussian checkpoint.
        data: Folder of HDF5 subjects.
        key: File name of the subject.
        frame: Row among the subject's usable images.
        sweep: One of `SWEEPS`.
        out: GIF file.
        device: `auto`, `cpu` or `cuda`.
        unseen: The data are test people alone (see `People`).

    Raises:
        UserError: Checkpoint, device or sweep cannot be used.
    """
    people = People(data, unseen)
    renderer = Renderer(checkpoint, "", people, device=device)
    start = Angles.of(people.batch(key, frame, renderer.size).parameters)
    angles = sweep_angles(sweep, start, people.limits())
    shown = progress(angles, "frames drawn", leave=False)
    return write_animation([Image.fromarray(renderer.draw(key, frame, one).pixels) for one in shown], out)


def write_animation(frames: Sequence[Image.Image], path: Path) -> list[Path]:
    """Write a GIF, and an MP4 beside it where ffmpeg is found.

    Returns:
        What was written.
    """
    written = [write_gif(frames, path)]
    encoder = find_ffmpeg()
    if encoder is not None:
        written.append(write_mp4(frames, path.with_suffix(".mp4"), encoder))
    return written


def write_gif(frames: Sequence[Image.Image], path: Path) -> Path:
    """Write an endless GIF; all frames share their 256 colours, so that nothing flickers."""
    width, height = frames[0].size
    together = Image.new("RGB", (width, height * len(frames)))
    for row, frame in enumerate(frames):
        together.paste(frame, (0, row * height))
    colors = together.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    indexed = [frame.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    with atomic_file(path) as temporary:
        duration = round(1000 / FRAMES_PER_SECOND)  # milliseconds
        more = {"append_images": indexed[1:], "duration": duration, "loop": 0, "comment": MARK}
        indexed[0].save(temporary, "GIF", save_all=True, **more)
    return path


def find_ffmpeg() -> str | None:
    """Path of an ffmpeg: the system's (Colab has it), or the one that imageio-ffmpeg brings; None without."""
    path = shutil.which("ffmpeg")
    if path is None and find_spec("imageio_ffmpeg") is not None:
        path = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    return path


def write_mp4(frames: Sequence[Image.Image], path: Path, encoder: str) -> Path:
    """Write H.264 that browsers play; ffmpeg pads odd sizes to even ones.

    Raises:
        ConfigError: ffmpeg fails; its last line says why.
    """
    width, height = frames[0].size
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAMES_PER_SECOND), "-i", "-"]
    target = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    target += ["-metadata", f"comment={MARK}", "-f", "mp4"]
    content = b"".join(frame.convert("RGB").tobytes() for frame in frames)
    with atomic_file(path) as temporary:
        args = [encoder, "-y", "-loglevel", "error", *source, *target, str(temporary)]
        done = subprocess.run(args, input=content, capture_output=True, check=False)
        if done.returncode:
            why = next(iter(reversed(done.stderr.decode(errors="replace").splitlines())), f"code {done.returncode}")
            raise ConfigError(f"Expected {encoder} to write {path}, it failed ({why}). The GIF beside it is complete.")
    return path

"""Frames per second of rendering, as `redirect` renders them."""

from __future__ import annotations

import copy
import platform
import statistics
import time
from dataclasses import replace

import torch

from gazegaussian.inference import FrameRenderer, frame_precision
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.training.hardware import precision_name
from gazegaussian.types import Batch
from gazegaussian.utils.counts import counted

WARM_UP = 3
REPEATS = {"cuda": 100, "cpu": 15}


def device_name(device: torch.device) -> str:
    """Name of the hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {counted(torch.get_num_threads(), 'thread')})"


def frame_description(model: GazeGaussian, device: torch.device) -> str:
    """Say on what and how `frames_per_second` renders."""
    precision = precision_name(frame_precision("auto", device))
    return f"{device_name(device)}, {precision}, {model.image_size} px, one image at a time"


def frames_per_second(model: GazeGaussian, batch: Batch, device: torch.device) -> float:
    """Measure how fast single images come to the host: median over repeats after a warm-up.

    Args:
        model: On the device.
        batch: Its first row is rendered. Expression, head pose and gaze change a little every time, so that no frame can take
            a part from the one before.
        device: Where.
    """
    frames = FrameRenderer(copy.deepcopy(model), frame_precision("auto", device))
    row = batch.rows(slice(0, 1)).to("cpu")
    head = row.parameters
    seconds = []
    for repeat in range(WARM_UP + REPEATS[device.type]):
        changed = {name: getattr(head, name) + 1e-3 * repeat for name in ("shape_code", "pose", "gaze")}
        started = time.perf_counter()
        frames.render(replace(head, **changed), row.cameras)
        if repeat >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return 1 / statistics.median(seconds)

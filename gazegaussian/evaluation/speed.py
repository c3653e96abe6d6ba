"""Frames per second of rendering."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import replace

import torch

from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.types import Batch

WARM_UP = 3
REPEATS = {"cuda": 100, "cpu": 15}


def device_name(device: torch.device) -> str:
    """Name of the hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


@torch.no_grad()
def frames_per_second(model: GazeGaussian, batch: Batch, device: torch.device) -> float:
    """Measure how fast single images are rendered: median over repeats after a warm-up, the device awaited each time.

    Args:
        model: On the device.
        batch: Its first row is rendered, with its gaze turned a little every time.
        device: Where.
    """
    row = batch.rows(slice(0, 1)).to(device)
    seconds = []
    for repeat in range(WARM_UP + REPEATS[device.type]):
        parameters = replace(row.parameters, gaze=row.parameters.gaze + 1e-3 * repeat)
        _wait(device)
        started = time.perf_counter()
        _ = model(parameters, row.cameras, layers=False).image
        _wait(device)
        if repeat >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return 1 / statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

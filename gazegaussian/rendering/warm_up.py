"""Compile ahead of use."""

from __future__ import annotations

import torch

from gazegaussian.rendering.mesh import render_mesh
from gazegaussian.rendering.splats import render_splats
from gazegaussian.types import Cameras, Gaussians


def warm_up(channels: tuple[int, ...] = (3, 32), device: torch.device | str = "cpu") -> None:
    """Compile the kernels now, so that no later call waits; they stay in the cache folder (`WARP_CACHE_PATH`).

    Args:
        channels: Feature counts that will be splatted.
        device: Where.
    """
    device = torch.device(device)
    eye = torch.eye(3, device=device)[None]
    cameras = Cameras(eye, torch.tensor([[0.0, 0.0, 4.0]], device=device), eye * 8, 8, 8)
    for count in channels:
        point = torch.zeros(1, 1, 3, device=device)
        quat = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], device=device)
        features = torch.zeros(1, 1, count, device=device, requires_grad=True)
        splat = Gaussians(point, quat, point + 0.1, torch.full((1, 1), 0.5, device=device), features)
        render_splats(splat, cameras, torch.zeros(count, device=device)).features.sum().backward()
    render_mesh(eye, torch.tensor([[0, 1, 2]], device=device), eye, cameras, 0.0)

"""Scenes and comparisons shared by the rendering tests."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from gazegaussian.rendering import render_splats
from gazegaussian.rendering._warp import HAS_CPU_BLOCKS
from gazegaussian.types import Cameras, Gaussians

FIELDS = [f.name for f in fields(Gaussians)]
needs_cpu_blocks = pytest.mark.skipif(not HAS_CPU_BLOCKS, reason="this Warp has no blocks on the CPU")
KERNELS = ["warp", pytest.param("warp-blocks", marks=needs_cpu_blocks)]  # those of the CPU, and those of CUDA


def frontal(batch: int, size: int, distance: float = 4.0, dtype=torch.float64) -> Cameras:
    """Looking along z; the principal point in the middle."""
    k = torch.tensor([[2.0 * size, 0, size / 2], [0, 2.0 * size, size / 2], [0, 0, 1]], dtype=dtype)
    move = torch.tensor([0.0, 0.0, distance], dtype=dtype)
    return Cameras(
        torch.eye(3, dtype=dtype).repeat(batch, 1, 1), move.repeat(batch, 1), k.repeat(batch, 1, 1), size, size
    )


def make_cameras(batch: int, width: int, height: int, dtype=torch.float64, seed: int = 0) -> Cameras:
    """Different poses; focal lengths differ and the principal point is off the middle."""
    generator = torch.Generator().manual_seed(seed)
    turn = 0.15 * torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(turn - turn.transpose(1, 2))
    translation = torch.tensor([0.05, -0.1, 4.0], dtype=torch.float64).repeat(batch, 1)
    focal = 0.5 * width / math.tan(math.radians(10))
    k = torch.tensor([[focal, 0, width / 2 + 1.3], [0, 1.1 * focal, height / 2 - 2.2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(rotation.to(dtype), translation.to(dtype), k.repeat(batch, 1, 1).to(dtype), width, height)


def make_gaussians(batch: int, count: int, channels: int, dtype=torch.float64, seed: int = 0) -> Gaussians:
    """A cloud with everything that occurs: nearly opaque, nearly transparent, elongated, behind the camera."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    means = 0.35 * normal(batch, count, 3)
    means[:, :5, 2] = -4.5
    opacities = torch.sigmoid(2.5 * normal(batch, count) + 0.5)
    opacities[:, 5:12] = 0.9999
    opacities[:, 12:16] = 0.001
    scales = torch.exp(0.6 * normal(batch, count, 3) - 3)
    made = (means, normal(batch, count, 4), scales, opacities, normal(batch, count, channels))
    return Gaussians(*(t.to(dtype) for t in made))


def outputs_and_grads(gaussians: Gaussians, cameras: Cameras, background, backend: str, **options) -> dict:
    """Both images and the gradients of a fixed random function of them."""
    inputs = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in FIELDS}
    inputs["background"] = background.detach().clone().requires_grad_()
    out = render_splats(Gaussians(**{n: inputs[n] for n in FIELDS}), cameras, inputs["background"], backend, **options)
    generator = torch.Generator().manual_seed(1)
    weights = (torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (out.features, out.alpha))
    total = sum((t * w.to(t)).sum() for t, w in zip((out.features, out.alpha), weights, strict=True))
    grads = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
    return {"image": out.features.detach(), "alpha": out.alpha.detach(), **dict(zip(inputs, grads, strict=True))}


def relative_errors(got: dict, expected: dict) -> dict[str, float]:
    return {k: ((got[k].double() - v).abs().max() / v.abs().max()).item() for k, v in expected.items()}


def sphere(rings: int = 12, radius: float = 0.5, bump: float = 0.0) -> tuple[Tensor, Tensor]:
    """A closed latitude-longitude sphere, bumpy if asked for."""
    theta = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[1:-1]
    phi = torch.linspace(0, 2 * math.pi, 2 * rings + 1, dtype=torch.float64)[:-1]
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    points = torch.stack([t.sin() * p.cos(), t.cos(), t.sin() * p.sin()], -1).reshape(-1, 3)
    points = torch.cat([points, torch.tensor([[0.0, 1, 0], [0, -1, 0]], dtype=torch.float64)])
    grow = 1 + bump * torch.sin(6 * points[:, :1]) * torch.cos(5 * points[:, 1:2] + 1)
    across = 2 * rings
    north = points.shape[0] - 2
    south = points.shape[0] - 1
    faces = []
    for j in range(across):
        k = (j + 1) % across
        faces += [(north, k, j), (south, (rings - 2) * across + j, (rings - 2) * across + k)]
        for i in range(rings - 2):
            a = i * across + j
            b = i * across + k
            c = (i + 1) * across + k
            d = (i + 1) * across + j
            faces += [(a, b, c), (a, c, d)]
    return points * grow * radius, torch.tensor(faces)

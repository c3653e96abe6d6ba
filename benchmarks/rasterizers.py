"""Time the rasterizers, forward + backward, against the pure-torch reference of the same run.

    python -m benchmarks.rasterizers [--device cuda] [--threads 2] [--repeats 15]

Ratios of one run are what to compare: the machine's other work slows both sides. Calls of the compared backends are
interleaved for the same reason.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gazegaussian.rendering import render_mesh, render_splats, warm_up
from gazegaussian.types import Cameras, Gaussians

# images, Gaussians, pixels, channels
SPLAT_CASES = [(1, 10_000, 128, 32), (1, 30_000, 128, 32), (1, 30_000, 256, 3), (6, 5_000, 32, 32), (3, 5_000, 64, 32)]
# images, triangles, pixels
MESH_CASES = [(1, 40_000, 128), (1, 40_000, 256), (3, 10_000, 256)]
TARGET = SPLAT_CASES[0]


def cameras(batch: int, size: int, device: str) -> Cameras:
    """A head-and-shoulders lens of 20 degrees, four units away."""
    focal = 0.5 * size / math.tan(math.radians(10))
    k = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    place = torch.tensor([0.0, 0.0, 4.0])
    made = Cameras(torch.eye(3).repeat(batch, 1, 1), place.repeat(batch, 1), k.repeat(batch, 1, 1), size, size)
    return made.to(device)


def head(batch: int, count: int, channels: int) -> Gaussians:
    """A bumpy shell about 60% of the image wide, splats as large as their spacing, every opacity."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    direction = torch.nn.functional.normalize(normal(batch, count, 3), dim=-1)
    bump = 1 + 0.08 * torch.sin(5 * direction[..., :1]) * torch.cos(4 * direction[..., 1:2])
    means = direction * (0.55 * bump + 0.01 * normal(batch, count, 1)) * torch.tensor([0.95, 1.15, 1.0])
    spacing = math.sqrt(4 * math.pi * 0.55**2 / count)
    scales = 0.65 * spacing * torch.exp(0.4 * normal(batch, count, 3))
    opacities = torch.sigmoid(1.5 * normal(batch, count))
    return Gaussians(means, normal(batch, count, 4), scales, opacities, normal(batch, count, channels))


def shell(triangles: int) -> tuple[Tensor, Tensor]:
    """A bumpy closed surface of about that many triangles."""
    rings = round(math.sqrt(triangles / 4))
    theta, phi = torch.meshgrid(
        torch.linspace(0.01, math.pi - 0.01, rings), torch.arange(2 * rings) * math.pi / rings, indexing="ij"
    )
    points = torch.stack([theta.sin() * phi.cos(), theta.cos(), theta.sin() * phi.sin()], -1).reshape(-1, 3)
    points = 0.55 * points * (1 + 0.15 * torch.sin(6 * points[:, :1]) * torch.cos(5 * points[:, 1:2]))
    index = torch.arange(points.shape[0]).view(rings, 2 * rings)
    a, b = index[:-1], index[:-1].roll(-1, 1)
    c, d = index[1:].roll(-1, 1), index[1:]
    return points, torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)]).reshape(-1, 3)


def interleaved(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median milliseconds of each call; one round calls all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:  # the first warms up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def splat_calls(case: tuple[int, int, int, int], device: str) -> dict[str, Callable[[], object]]:
    """Forward + backward of each backend."""
    batch, count, size, channels = case
    gaussians, view = head(batch, count, channels).to(device), cameras(batch, size, device)
    leaves = [t.requires_grad_() for t in vars(gaussians).values()]
    background = torch.zeros(channels, device=device)
    to_image = torch.randn(batch, channels, size, size, device=device)
    to_alpha = torch.randn(batch, 1, size, size, device=device)

    def call(backend: str) -> None:
        out = render_splats(gaussians, view, background, backend)
        torch.autograd.grad((out.features, out.alpha), leaves, (to_image, to_alpha))

    return {"warp": lambda: call("warp"), "torch": lambda: call("torch")}


def mesh_calls(case: tuple[int, int, int], device: str) -> dict[str, Callable[[], object]]:
    """Forward + backward of six attributes and the silhouette."""
    batch, triangles, size = case
    points, faces = shell(triangles)
    points = points.repeat(batch, 1, 1).to(device).requires_grad_()
    faces, values = faces.to(device), torch.randn(*points.shape[:2], 6, device=device).requires_grad_()
    view = cameras(batch, size, device)

    def call(backend: str) -> None:
        image = render_mesh(points, faces, values, view, 0.0, backend)
        torch.autograd.grad(image.attributes.sum() + image.silhouette.sum(), [points, values])

    return {"warp": lambda: call("warp"), "torch": lambda: call("torch")}


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} CPU threads{load}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warm_up(device=args.device)
    print(f"{machine(args.device)}; torch {torch.__version__}; medians of {args.repeats}, forward + backward, ms\n")
    print(f"{'':<44}{'warp':>9}{'torch':>9}{'ratio':>8}")
    for case in SPLAT_CASES:
        ms = interleaved(splat_calls(case, args.device), args.repeats, args.device)
        label = f"splats {case[0]} x {case[1]:>6} x {case[2]:>3}^2 x {case[3]:>2} channels"
        note = "   target: >= 8x, <= 40 ms on 2 CPU threads" if case == TARGET else ""
        print(f"{label:<44}{ms['warp']:>9.1f}{ms['torch']:>9.1f}{ms['torch'] / ms['warp']:>7.1f}x{note}")
    for mesh_case in MESH_CASES:
        ms = interleaved(mesh_calls(mesh_case, args.device), args.repeats, args.device)
        label = f"mesh   {mesh_case[0]} x {mesh_case[1]:>6} x {mesh_case[2]:>3}^2, 6 attributes"
        print(f"{label:<44}{ms['warp']:>9.1f}{ms['torch']:>9.1f}{ms['torch'] / ms['warp']:>7.1f}x")


if __name__ == "__main__":
    main()

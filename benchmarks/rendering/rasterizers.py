"""Time the rasterizers, forward + backward, against the pure-torch reference of the same run.

    python -m benchmarks.rendering.rasterizers [--device cuda] [--threads 2] [--repeats 15] [--sweep] [--json]

Ratios of one run are what to compare: the machine's other work slows both sides. Calls of the compared backends are
interleaved for the same reason. Beside each time stands how far that backend is from Warp, gradients included: the norm of the
difference over the norm, the largest of all tensors. Above 1% is a failure.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.rendering.timing import interleaved, show
from gazegaussian.rendering import render_mesh, render_splats, warm_up
from gazegaussian.rendering.gsplat import gsplat_clamp
from gazegaussian.types import Cameras, Gaussians

# images, Gaussians, pixels, channels
SPLAT_CASES: list[tuple[int, int, int, int]] = [
    (1, 10_000, 128, 32),
    (1, 30_000, 128, 32),
    (1, 30_000, 256, 3),
    (6, 5_000, 32, 32),
    (3, 5_000, 64, 32),
]
# images, triangles, pixels
MESH_CASES = [(1, 40_000, 128), (1, 40_000, 256), (3, 10_000, 256)]
SplatCase = tuple[int, int, int, int]
FARTHEST = 0.01  # of a backend from Warp
SWEEP: list[SplatCase] = [
    *[(1, count, 128, 32) for count in (3_000, 10_000, 30_000, 100_000)],
    *[(1, 10_000, size, 32) for size in (64, 256, 512)],
    *[(1, 10_000, 128, channels) for channels in (3, 16, 64)],
]


def cameras(batch: int, size: int, device: str) -> Cameras:
    """A head-and-shoulders lens of 20 degrees, four units away."""
    focal = 0.5 * size / math.tan(math.radians(10))
    k = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    translation = torch.tensor([0.0, 0.0, 4.0])
    made = Cameras(torch.eye(3).repeat(batch, 1, 1), translation.repeat(batch, 1), k.repeat(batch, 1, 1), size, size)
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
    a = index[:-1]
    b = index[:-1].roll(-1, 1)
    c = index[1:].roll(-1, 1)
    d = index[1:]
    return points, torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)]).reshape(-1, 3)


def splat_calls(case: tuple[int, int, int, int], device: str) -> dict[str, Callable[[], list[Tensor]]]:
    """Forward + backward of each backend: image, alpha and the gradients. Alpha is clamped where gsplat clamps it."""
    batch, count, size, channels = case
    gaussians = head(batch, count, channels).to(device)
    view = cameras(batch, size, device)
    leaves = [t.requires_grad_() for t in vars(gaussians).values()]
    background = torch.zeros(channels, device=device)
    to_image = torch.randn(batch, channels, size, size, device=device)
    to_alpha = torch.randn(batch, 1, size, size, device=device)

    compared = device == "cuda" and importlib.util.find_spec("gsplat") is not None
    clamp = gsplat_clamp() if compared else 0.99

    def call(backend: str) -> list[Tensor]:
        out = render_splats(gaussians, view, background, backend, clamp)
        grads = torch.autograd.grad((out.features, out.alpha), leaves, (to_image, to_alpha))
        return [out.features.detach(), out.alpha.detach(), *grads]

    return {name: partial(call, name) for name in ("warp", "torch", *(["gsplat"] if compared else []))}


def distances(calls: Mapping[str, Callable[[], list[Tensor]]]) -> dict[str, float]:
    """How far each backend is from Warp: the norm of the difference over the norm, the largest of all tensors.

    Raises:
        RuntimeError: Farther than `FARTHEST`.
    """
    expected = calls["warp"]()
    deviations = {}
    for name in [name for name in calls if name != "warp"]:
        pairs = zip(calls[name](), expected, strict=True)
        shares = [(got - wanted).norm() / wanted.norm().clamp_min(1e-12) for got, wanted in pairs]
        off = torch.stack(shares).max().item()  # NaN where one is
        if not off <= FARTHEST:
            raise RuntimeError(f"{name} is {off:.2g} from warp, above {FARTHEST:g}: one of them is wrong.")
        deviations[f"{name} off"] = off
    return deviations


def mesh_calls(case: tuple[int, int, int], device: str) -> dict[str, Callable[[], object]]:
    """Forward + backward of six attributes and the silhouette."""
    batch, triangles, size = case
    points, faces = shell(triangles)
    points = points.repeat(batch, 1, 1).to(device).requires_grad_()
    faces = faces.to(device)
    values = torch.randn(*points.shape[:2], 6, device=device).requires_grad_()
    view = cameras(batch, size, device)

    def call(backend: str) -> None:
        image = render_mesh(points, faces, values, view, 0.0, backend)
        torch.autograd.grad(image.attributes.sum() + image.silhouette.sum(), [points, values])

    return {"warp": lambda: call("warp"), "torch": lambda: call("torch")}


def splat_rows(cases: Sequence[SplatCase], repeats: int, device: str, table: str) -> list[dict[str, Any]]:
    """Every backend that is here, over cases."""
    rows = []
    for images, count, size, channels in cases:
        calls = splat_calls((images, count, size, channels), device)
        off = distances(calls)
        ms = interleaved(dict(calls), repeats, device)
        case = {"images": images, "Gaussians": count, "pixels": f"{size}^2", "channels": channels}
        rows.append({"table": table, **case, **ms, "torch / warp": ms["torch"] / ms["warp"], **off})
    return rows


def mesh_rows(repeats: int, device: str) -> list[dict[str, Any]]:
    """Both mesh backends."""
    rows = []
    for images, triangles, size in MESH_CASES:
        ms = interleaved(mesh_calls((images, triangles, size), device), repeats, device)
        case = {"images": images, "triangles": triangles, "pixels": f"{size}^2"}
        rows.append({"table": "meshes, 6 attributes, ms", **case, **ms, "torch / warp": ms["torch"] / ms["warp"]})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sweep", action="store_true", help="how the cost grows with Gaussians, pixels and channels")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    warm_up(device=args.device)
    table = "splats, ms (first line: target >= 8x, <= 40 ms on 2 CPU threads)"
    if args.sweep:
        rows = splat_rows(SWEEP, args.repeats, args.device, "splats, ms")
    else:
        rows = splat_rows(SPLAT_CASES, args.repeats, args.device, table) + mesh_rows(args.repeats, args.device)
    show(rows, args.device, args.json)


if __name__ == "__main__":
    main()

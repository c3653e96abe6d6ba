"""Mesh rasterisation: visibility, interpolation, soft silhouette and their gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rendering_scenes import frontal, make_cameras, sphere
from torch import Tensor

from gazegaussian.errors import UserError
from gazegaussian.rendering import render_mesh
from gazegaussian.rendering.mesh import edge_table
from gazegaussian.types import Cameras

BACKENDS = ["warp", "torch"]


def covering(vertices: Tensor, faces: Tensor, cameras: Cameras) -> Tensor:
    """Per pixel of one image the nearest face, by intersecting every ray with every plane. [H, W]"""
    points = vertices @ cameras.rotation[0].T + cameras.translation[0]
    ys, xs = torch.meshgrid(torch.arange(cameras.height), torch.arange(cameras.width), indexing="ij")
    k = cameras.intrinsics[0]
    pixels = torch.stack([(xs + 0.5 - k[0, 2]) / k[0, 0], (ys + 0.5 - k[1, 2]) / k[1, 1], torch.ones_like(xs)], -1)
    a, b, c = points[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    depth = (normal * a).sum(-1) / (pixels.to(a)[..., None, :] * normal).sum(-1)  # [H, W, F]
    hit = depth[..., None] * pixels.to(a)[..., None, :]
    sides = [
        (torch.linalg.cross((v - u).expand_as(hit), hit - u) * normal).sum(-1) for u, v in ((a, b), (b, c), (c, a))
    ]
    inside = (torch.stack(sides) >= 0).all(0) & (depth > 0)
    nearest = torch.where(inside, depth, torch.inf).min(-1)
    return torch.where(nearest.values < torch.inf, nearest.indices, -1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_nearest_face_is_seen(backend):
    vertices, faces = sphere(8, bump=0.2)
    cameras = make_cameras(1, 40, 32)
    expected = covering(vertices, faces, cameras)
    # A colour per face: its own three vertices.
    own = vertices[faces].reshape(-1, 3)
    colours = torch.arange(faces.shape[0]).double().repeat_interleave(3)
    apart = torch.arange(own.shape[0]).view(-1, 3)
    dtype = torch.float64 if backend == "torch" else torch.float32
    got = render_mesh(own[None].to(dtype), apart, colours[None, :, None].to(dtype), cameras, -1.0, backend)
    assert (expected >= 0).sum() > 200
    assert torch.equal(got.mask[0, 0] > 0, expected >= 0)
    assert torch.equal(got.attributes[0, 0].round().long(), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_interpolation_is_perspective_correct(backend):
    # A slanted square whose attribute is the world position: what comes out must lie on the pixel's ray.
    vertices = torch.tensor([[-0.6, -0.6, -1.0], [0.6, -0.6, 1.0], [0.6, 0.6, 1.0], [-0.6, 0.6, -1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    cameras = make_cameras(2, 30, 20, torch.float32)
    image = render_mesh(vertices[None].repeat(2, 1, 1), faces, vertices[None].repeat(2, 1, 1), cameras, 9.0, backend)
    for row in range(2):
        y, x = torch.nonzero(image.mask[row, 0], as_tuple=True)
        seen = image.attributes[row, :, y, x].T @ cameras.rotation[row].T + cameras.translation[row]
        k = cameras.intrinsics[row]
        # Pixel centres at integers: u = fx x / z + cx - 0.5.
        torch.testing.assert_close(k[0, 0] * seen[:, 0] / seen[:, 2] + k[0, 2] - 0.5, x.float(), rtol=0, atol=1e-3)
        torch.testing.assert_close(k[1, 1] * seen[:, 1] / seen[:, 2] + k[1, 2] - 0.5, y.float(), rtol=0, atol=1e-3)
    assert (image.attributes[image.mask.expand_as(image.attributes) == 0] == 9.0).all()


@pytest.mark.parametrize("attribute", ["attributes", "silhouette"])
def test_gradients_are_those_of_finite_differences(attribute):
    vertices, faces = sphere(5, bump=0.1)
    cameras = make_cameras(1, 24, 20)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, vertices.shape[0], 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(1, 2 if attribute == "attributes" else 1, 20, 24, generator=generator, dtype=torch.float64)

    def total(points: Tensor, values: Tensor, background: Tensor) -> Tensor:
        return (getattr(render_mesh(points, faces, values, cameras, background), attribute) * weights).sum()

    background = torch.tensor([0.5, -1.0], dtype=torch.float64)
    inputs = [t.clone().requires_grad_() for t in (vertices[None], values, background)]
    grads = torch.autograd.grad(total(*inputs), inputs, allow_unused=True)
    checked = 0
    for which, (tensor, grad) in enumerate(zip(inputs, grads, strict=True)):
        if grad is None:
            assert attribute == "silhouette"
            assert which > 0
            continue
        for _ in range(12):
            # Steps so small that no pixel changes its face.
            step = 1e-7 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            plus, minus = ([t + s * step if i == which else t for i, t in enumerate(inputs)] for s in (1, -1))
            numeric = (total(*plus) - total(*minus)) / 2
            assert numeric.item() == pytest.approx((grad * step).sum().item(), rel=1e-4, abs=1e-13)
            checked += 1
    assert checked >= 12


def images_and_grads(vertices: Tensor, faces: Tensor, values: Tensor, cameras: Cameras, backend: str) -> dict:
    """Images and, for each of the two that has any, the gradients of a fixed random function of it."""
    background = torch.linspace(0, 1, values.shape[-1]).to(values)
    inputs = {"vertices": vertices, "values": values, "background": background}
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    image = render_mesh(inputs["vertices"], faces, inputs["values"], cameras, inputs["background"], backend)
    results = {"mask": image.mask, "attributes": image.attributes.detach(), "silhouette": image.silhouette.detach()}
    generator = torch.Generator().manual_seed(0)
    for name in ("attributes", "silhouette"):
        out = getattr(image, name)
        total = (out * torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)).sum()
        grads = torch.autograd.grad(total, list(inputs.values()), retain_graph=True, allow_unused=True)
        results |= {f"{name} to {k}": g for k, g in zip(inputs, grads, strict=True) if g is not None}
    return results


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rings", "width", "height", "channels"),
    [(14, 48, 40, 1), (40, 128, 112, 6), (30, 256, 256, 32), (60, 256, 224, 3)],
)
def test_single_precision_agrees_with_float64(rings, width, height, channels, seed):
    vertices, faces = sphere(rings, bump=0.2)
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([0.8, 1.1])[: 2 if width < 256 else 1, None, None]
    vertices = vertices.float() * size
    values = torch.randn(*vertices.shape[:2], channels, generator=generator)
    cameras = make_cameras(len(size), width, height, torch.float32, seed)
    exact = images_and_grads(vertices.double(), faces, values.double(), cameras, "auto")
    assert exact["mask"].sum() > 0.2 * exact["mask"].numel()
    for backend in ("warp", "torch") if width < 256 else ("warp",):
        got = images_and_grads(vertices, faces, values, cameras, backend)
        assert got.keys() == exact.keys()
        assert torch.equal(got.pop("mask").double(), exact["mask"])
        for name, result in got.items():
            assert result.dtype == torch.float32
            error = ((result - exact[name]).abs().max() / exact[name].abs().max()).item()
            assert error <= (1e-4 if " to " in name else 1e-5), (backend, name, error)


@pytest.mark.parametrize("seed", range(4))
def test_edge_on_faces_agree_with_float64(seed):
    """Slivers: the view of most faces is so oblique that a pixel's shift by 1e-5 is seen in the attributes."""
    generator = torch.Generator().manual_seed(seed)
    vertices, faces = sphere(24)
    vertices = (vertices * torch.tensor([1.4, 1.2, 1e-3]) + torch.tensor([0.0, 0.0, 0.3])).float()[None]
    values = torch.randn(1, vertices.shape[1], 3, generator=generator)
    angle = math.radians(88 + seed / 2)
    cameras = frontal(1, 200, dtype=torch.float32)
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    cameras = replace(cameras, rotation=turn[None])
    exact = images_and_grads(vertices.double(), faces, values.double(), cameras, "auto")
    got = images_and_grads(vertices, faces, values, cameras, "warp")
    assert exact["mask"].sum() > 200
    assert torch.equal(got.pop("mask").double(), exact["mask"])
    for name, result in got.items():
        error = ((result - exact[name]).abs().max() / exact[name].abs().max()).item()
        assert error <= (1e-4 if " to " in name else 1e-5), (name, error)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_rows_are_independent(backend):
    vertices, faces = sphere(8)
    stack = vertices.float() * torch.tensor([0.7, 1.0, 1.2])[:, None, None]
    cameras = make_cameras(3, 32, 24, torch.float32)
    together = render_mesh(stack, faces, stack, cameras, 0.5, backend)
    for row in range(3):
        alone = render_mesh(stack[[row]], faces, stack[[row]], cameras.rows([row]), 0.5, backend)
        for name in ("attributes", "mask", "silhouette"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[row], rtol=0, atol=1e-5)


def test_cpu_runs_are_bit_identical_and_do_not_depend_on_threads(monkeypatch):
    vertices, faces = sphere(12, bump=0.2)
    results = []
    for threads in (1, 2, 3, 1):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        points = vertices.float().repeat(3, 1, 1).requires_grad_()
        image = render_mesh(points, faces, points, make_cameras(3, 40, 40, torch.float32), 0.0)
        (image.attributes.square().sum() + image.silhouette.square().sum()).backward()
        results.append((image.attributes, image.silhouette, points.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["behind", "not finite", "no faces"])
def test_what_cannot_be_drawn_is_left_out(backend, case):
    vertices, faces = sphere(6)
    points = vertices.float()[None].clone()
    if case == "behind":
        points[..., 2] -= 20
    elif case == "not finite":
        points[0, ::3] = torch.tensor([math.nan, math.inf, -math.inf])
        faces = faces[(faces % 3 == 0).any(1)]
    else:
        faces = faces[:0]
    points.requires_grad_()
    image = render_mesh(points, faces, points.detach().nan_to_num(), frontal(1, 16, dtype=torch.float32), 0.25, backend)
    assert (image.attributes == 0.25).all()
    assert not image.mask.any()
    assert not image.silhouette.any()
    (image.attributes.sum() + image.silhouette.sum()).backward()
    assert not points.grad.any()


def test_one_spoilt_vertex_takes_only_its_faces_away():
    vertices, faces = sphere(8)
    whole = vertices.float()[None].clone()
    spoilt = vertices.float()[None].clone()
    spoilt[0, 40] = math.nan
    spoilt.requires_grad_()
    cameras = make_cameras(1, 24, 24, torch.float32)
    image = render_mesh(spoilt, faces, whole, cameras, 0.0)
    expected = render_mesh(whole, faces[(faces != 40).all(1)], whole, cameras, 0.0)
    torch.testing.assert_close(image.attributes, expected.attributes, rtol=0, atol=0)
    image.attributes.sum().backward()
    rest = torch.arange(whole.shape[1]) != 40
    assert torch.isfinite(spoilt.grad[0, rest]).all()


def test_half_precision_is_computed_in_float32():
    vertices, faces = sphere(8)
    half = vertices.to(torch.bfloat16)[None]
    cameras = make_cameras(1, 24, 24, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = render_mesh(half, faces, half, cameras, 0.0)
    expected = render_mesh(half.float(), faces, half.float(), cameras, 0.0)
    assert image.attributes.dtype == torch.float32
    assert torch.equal(image.attributes, expected.attributes)
    assert torch.equal(image.silhouette, expected.silhouette)


def test_edge_table_of_closed_and_open_meshes():
    vertices, faces = sphere(6)
    edges = edge_table(faces)
    assert edges.shape[0] == vertices.shape[0] + faces.shape[0] - 2  # Euler
    assert (edges[:, 2:] >= 0).all()
    for a, b, left, right in edges.tolist():
        assert {a, b} <= set(faces[left].tolist())
        assert {a, b} <= set(faces[right].tolist())
    square = edge_table(torch.tensor([[0, 1, 2], [0, 2, 3]]))
    assert square.shape[0] == 5
    assert (square[:, 3] < 0).sum() == 4


def test_faces_written_to_are_noticed():
    faces = torch.tensor([[0, 1, 2]])
    points = torch.tensor([[[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]]])
    cameras = frontal(1, 16, dtype=torch.float32)
    before = render_mesh(points, faces, points, cameras, 0.0).mask
    faces[0, 1] = 3
    after = render_mesh(points, faces, points, cameras, 0.0).mask
    assert torch.equal(after, render_mesh(points, faces.clone(), points, cameras, 0.0).mask)
    assert not torch.equal(before, after)


def test_wrong_calls_say_what_to_change():
    points = torch.zeros(1, 3, 3)
    faces = torch.tensor([[0, 1, 2]])
    cameras = frontal(1, 8, dtype=torch.float32)
    with pytest.raises(UserError, match="below 3"):
        render_mesh(points, faces + 1, points, cameras, 0.0)
    with pytest.raises(UserError, match=">= 0"):
        render_mesh(points, faces - 1, points, cameras, 0.0)
    with pytest.raises(UserError, match="Match the first dimensions"):
        render_mesh(points, faces, points[:, :2], cameras, 0.0)
    with pytest.raises(UserError, match="backend"):
        render_mesh(points, faces, points, cameras, 0.0, "opengl")
    with pytest.raises(UserError, match="float64"):
        render_mesh(points.double(), faces, points, cameras, 0.0, "warp")

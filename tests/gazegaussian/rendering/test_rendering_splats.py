"""Splatting: agreement with a float64 oracle, gradients, closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rendering_scenes import FIELDS, KERNELS, make_cameras, make_gaussians, outputs_and_grads, relative_errors

from gazegaussian.rendering import projection as torch_projection
from gazegaussian.rendering import render_splats
from gazegaussian.rendering.projection_kernels import project_flat, project_flat_backward
from gazegaussian.types import Cameras, Gaussians


@pytest.fixture(scope="module")
def oracle():
    """Brute force in float64, per channel count."""
    made = {}

    def get(channels: int):
        if channels not in made:
            scene = (
                make_gaussians(3, 150, channels),
                make_cameras(3, 26, 22),
                torch.linspace(-1, 2, channels).double(),
            )
            made[channels] = (*scene, outputs_and_grads(*scene, "brute-force"))
        return made[channels]

    return get


@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
def test_agrees_with_the_oracle(oracle, backend, channels):
    gaussians, cameras, background, expected = oracle(channels)
    single = Gaussians(*(getattr(gaussians, n).float() for n in FIELDS))
    errors = relative_errors(outputs_and_grads(single, cameras, background.float(), backend), expected)
    assert errors["image"] <= 1e-5
    assert errors["alpha"] <= 1e-5
    assert max(errors[n] for n in [*FIELDS, "background"]) <= 1e-4, errors


@pytest.mark.parametrize("channels", [3, 32])
def test_vectorised_torch_equals_the_oracle_in_float64(oracle, channels):
    gaussians, cameras, background, expected = oracle(channels)
    for backend in ("torch", "auto"):  # auto turns to torch for float64
        errors = relative_errors(outputs_and_grads(gaussians, cameras, background, backend), expected)
        assert max(errors.values()) <= 1e-9, errors


@pytest.mark.parametrize("backend", ["torch", "brute-force"])
def test_gradients_are_those_of_finite_differences(backend):
    # Splats wider than the image: no pixel comes near the cut-off, where the image is not continuous.
    generator = torch.Generator().manual_seed(3)
    means = 0.1 * torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    means[..., 2] = torch.tensor([0.0, 0.2, 0.4])
    quats = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    scales = 0.8 + torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    opacities = 0.3 + 0.4 * torch.rand(2, 3, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    cameras = make_cameras(2, 5, 4)
    background = torch.tensor([0.3, -0.7], dtype=torch.float64)

    def render(*tensors):
        out = render_splats(Gaussians(*tensors[:5]), cameras, tensors[5], backend)
        return out.features, out.alpha

    inputs = tuple(t.requires_grad_() for t in (means, quats, scales, opacities, features, background))
    assert torch.autograd.gradcheck(render, inputs, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_warp_projection_equals_the_differentiable_one():
    gaussians = make_gaussians(3, 60, 1, torch.float32)
    cameras = make_cameras(3, 40, 30, torch.float32)
    shape = [getattr(gaussians, n).clone().requires_grad_() for n in ("means", "quats", "scales")]
    expected = torch_projection.project(replace(gaussians, means=shape[0], quats=shape[1], scales=shape[2]), cameras)
    flat = tuple(t.detach().flatten(0, 1) for t in shape)
    opacities = gaussians.opacities.flatten()
    got = project_flat(flat, opacities, cameras)
    drawn = expected.extents[:, 0] > 0
    assert torch.equal(drawn, got.extents[:, 0] > 0)
    assert 0 < drawn.sum() < drawn.numel()
    for name in ("means", "conics", "depths", "extents"):
        torch.testing.assert_close(getattr(got, name)[drawn], getattr(expected, name)[drawn], rtol=1e-4, atol=1e-5)
    to_means = torch.randn_like(expected.means)
    to_conics = torch.randn_like(expected.conics)
    grads = torch.autograd.grad((expected.means, expected.conics), shape, (to_means, to_conics))
    for mine, theirs in zip(
        project_flat_backward(flat, opacities, cameras, got, to_means, to_conics), grads, strict=True
    ):
        assert (mine - theirs.flatten(0, 1)).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
def test_one_round_splat_has_the_closed_form(backend):
    # Pixel centres are integers: u = fx x / z + cx - 0.5.
    cameras = Cameras(
        torch.eye(3)[None],
        torch.tensor([[0.0, 0.0, 5.0]]),
        torch.tensor([[[40.0, 0, 8.5], [0, 40, 6.5], [0, 0, 1]]]),
        15,
        11,
    )
    point = torch.tensor([[[0.25, -0.125, 0.0]]])  # at (10, 5): u = 40 * 0.05 + 8, v = -40 * 0.025 + 6
    scale = 0.2
    splat = Gaussians(
        point,
        torch.tensor([[[1.0, 0, 0, 0]]]),
        torch.full((1, 1, 3), scale),
        torch.tensor([[0.8]]),
        torch.ones(1, 1, 1),
    )
    alpha = render_splats(splat, cameras, torch.zeros(1), backend).alpha[0, 0]
    assert divmod(int(alpha.argmax()), 15) == (5, 10)
    assert alpha[5, 10] == pytest.approx(0.8, abs=1e-6)
    # One pixel up. The Jacobian's depth column adds (x / z)^2 and (y / z)^2.
    spread = (40 * scale / 5) ** 2
    x = 0.05
    y = -0.025
    a = spread * (1 + x * x) + 0.3
    b = spread * x * y
    c = spread * (1 + y * y) + 0.3
    assert alpha[4, 10] == pytest.approx(0.8 * math.exp(-0.5 * a / (a * c - b * b)), rel=1e-5)


@pytest.mark.parametrize("backend", KERNELS)
def test_near_hides_far_whatever_the_order(backend):
    cameras = make_cameras(1, 16, 16, torch.float32)
    means = torch.tensor([[[0.0, 0, 0.5], [0.0, 0, -0.5]]])
    opaque = Gaussians(
        means, torch.tensor([1.0, 0, 0, 0]).expand(1, 2, 4), torch.full((1, 2, 3), 9.0), torch.ones(1, 2),
        torch.tensor([[[1.0], [2.0]]]),
    )  # fmt: skip
    image = render_splats(opaque, cameras, torch.zeros(1), backend).features
    swapped = Gaussians(*(getattr(opaque, n).flip(1) for n in FIELDS))
    assert torch.equal(image, render_splats(swapped, cameras, torch.zeros(1), backend).features)
    assert image.max() == pytest.approx(0.99 * 2 + 0.01 * 0.99 * 1, abs=1e-5)


@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
def test_max_alpha_limits_one_splat(backend):
    cameras = make_cameras(1, 12, 12, torch.float32)
    splat = Gaussians(
        torch.zeros(1, 1, 3),
        torch.tensor([[[1.0, 0, 0, 0]]]),
        torch.full((1, 1, 3), 9.0),
        torch.tensor([[1.0]]),
        torch.ones(1, 1, 3),
    )
    for limit in (0.9, 0.99, 0.999):
        assert render_splats(splat, cameras, torch.zeros(3), backend, limit).alpha.max() == pytest.approx(
            limit, abs=1e-6
        )

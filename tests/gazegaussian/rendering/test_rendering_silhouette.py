"""The soft silhouette: its profile, what is no border, and what it teaches."""

from __future__ import annotations

import math

import pytest
import torch
from rendering_scenes import frontal, sphere

from gazegaussian.rendering import render_mesh

BACKENDS = ["warp", "torch"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_silhouette_is_half_on_the_border_and_falls_off_both_ways(backend):
    size = 64
    # A square whose right side is at u = 40.25 (pixel i is centred at i + 0.5), i.e. 0.25 px right of pixel 39's centre.
    right = (40.25 - size / 2) * 4 / (2 * size)
    vertices = torch.tensor([[[-0.5, -0.5, 0.0], [right, -0.5, 0], [right, 0.5, 0], [-0.5, 0.5, 0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    image = render_mesh(vertices, faces, vertices, frontal(1, size, dtype=torch.float32), 0.0, backend)
    row = image.silhouette[0, 0, 32]
    for pixel, distance in ((41, -1.25), (40, -0.25), (39, 0.75), (38, 1.75)):
        half = 0.5 * math.exp(-(distance**2))
        assert row[pixel] == pytest.approx(1 - half if distance > 0 else half, abs=1e-5)
    assert row[32] == 1.0  # the diagonal is an edge, but no contour
    assert row[50] == 0.0
    assert torch.equal(image.silhouette[0, 0] > 0.5, image.mask[0, 0] > 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_contours_in_front_of_the_mesh_itself_are_no_border(backend):
    back = torch.tensor([[-0.6, -0.6, 0.5], [0.6, -0.6, 0.5], [0.6, 0.6, 0.5], [-0.6, 0.6, 0.5]])
    front = back * torch.tensor([0.4, 0.4, 0.0])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    cameras = frontal(1, 48, dtype=torch.float32)
    both = torch.cat([back, front])[None]
    alone = render_mesh(back[None], faces, back[None], cameras, 0.0, backend).silhouette
    together = render_mesh(both, torch.cat([faces, faces + 4]), both, cameras, 0.0, backend).silhouette
    assert torch.equal(alone, together)


@pytest.mark.parametrize("start", [0.38, 0.5])
def test_silhouette_loss_finds_the_size_and_place_of_the_target(start):
    vertices, faces = sphere(16, radius=1.0)
    cameras = frontal(1, 48, dtype=torch.float32)
    vertices = vertices.float()[None]
    shift = torch.tensor([0.04, -0.03, 0.0])
    target = render_mesh(0.44 * vertices + shift, faces, vertices, cameras, 0.0).mask
    radius = torch.tensor(start, requires_grad=True)
    move = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([radius, move], lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        loss = (
            (render_mesh(radius * vertices + move, faces, vertices, cameras, 0.0).silhouette - target).square().mean()
        )
        loss.backward()
        optimizer.step()
    pixel = 4 / (2 * 48)
    # Depth and size are exchangeable; what the image determines is their ratio.
    apparent = (radius * 4 / (4 + move[2])).item()
    assert apparent == pytest.approx(0.44, abs=0.3 * pixel)
    torch.testing.assert_close(move.detach()[:2], shift[:2], rtol=0, atol=0.3 * pixel)

"""Marching tetrahedra: closed, oriented, accurate surfaces with the right gradients."""

import itertools

import pytest
import torch
import trimesh

from gazegaussian.geometry.grid_topology import compact
from gazegaussian.geometry.tetrahedra import (
    BOX_MAX,
    BOX_MIN,
    MarchingTetrahedra,
    TetrahedralGrid,
    _kuhn_offsets,
    _triangle_table,
)

CENTRE = torch.tensor([0.05, -0.02, -0.7])


def sphere(points, radius=1.1, centre=CENTRE):
    return (points - centre.to(points)).norm(dim=-1) - radius


def extract(grid, field):
    """Surface of a field that needs no offsets."""
    return grid.extract(field(grid.points), lambda rows: (field(grid.points[rows]), grid.points[rows]))


def as_trimesh(surface):
    return trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)


@pytest.fixture(scope="module")
def grid():
    return TetrahedralGrid(20)


def test_six_positively_oriented_tetrahedra_fill_the_cell():
    tets = _kuhn_offsets().double()
    volumes = torch.det(tets[:, 1:] - tets[:, :1]) / 6
    torch.testing.assert_close(volumes, torch.full((6,), 1 / 6, dtype=torch.float64))
    inside = torch.rand(2000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.linalg.solve(
        (tets[:, 1:] - tets[:, :1]).transpose(1, 2), (inside[:, None, :] - tets[:, 0])[..., None]
    )
    weights = weights[..., 0]
    covered = (weights >= 0).all(-1) & (weights.sum(-1) <= 1)
    assert (covered.sum(1) == 1).all()


def test_triangle_table_flips_with_the_signs():
    table = _triangle_table()
    assert (table[[0, 15]] == -1).all()
    for pattern in range(1, 15):
        count = (table[pattern, :, 0] >= 0).sum().item()
        assert count == (2 if pattern.bit_count() == 2 else 1)
        edges = {e for triangle in table[pattern, :count].tolist() for e in triangle}
        assert edges == {e for triangle in table[15 - pattern, :count].tolist() for e in triangle}


def test_grid_spans_the_box(grid):
    assert grid.points.shape == (21**3, 3)
    torch.testing.assert_close(grid.points.amin(0), torch.tensor(BOX_MIN))
    torch.testing.assert_close(grid.points.amax(0), torch.tensor(BOX_MAX))
    row = torch.tensor([3, 7, 11]) @ grid._stride
    step = (torch.tensor(BOX_MAX) - torch.tensor(BOX_MIN)) / 20
    torch.testing.assert_close(grid.points[row], torch.tensor(BOX_MIN) + step * torch.tensor([3.0, 7.0, 11.0]))


def test_sphere_is_a_closed_manifold_with_outward_faces(grid):
    surface = extract(grid, sphere)
    mesh = as_trimesh(surface)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * torch.pi * 1.1**3, rel=0.02)  # positive: normals point outside
    centres = surface.vertices[surface.faces].mean(1) - CENTRE
    normals = torch.from_numpy(mesh.face_normals.copy()).float()
    areas = torch.from_numpy(mesh.area_faces.copy())
    assert ((centres * normals).sum(-1)[areas > 1e-8] > 0).all()


def test_surface_approaches_the_sphere_quadratically():
    errors = [sphere(extract(TetrahedralGrid(n), sphere).vertices).abs().max().item() for n in (10, 20, 40)]
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


def test_plane_is_exact(grid):
    normal = torch.tensor([0.3, 0.5, -0.4])
    surface = extract(grid, lambda p: p @ normal - 0.1)
    torch.testing.assert_close(surface.vertices @ normal, torch.full((len(surface.vertices),), 0.1), atol=1e-6, rtol=0)


def test_torus_keeps_its_hole(grid):
    def torus(points):
        x, y, z = (points - CENTRE).unbind(-1)
        return (((x.square() + y.square()).sqrt() - 0.9).square() + z.square()).sqrt() - 0.4

    mesh = as_trimesh(extract(grid, torus))
    assert mesh.is_watertight
    assert mesh.euler_number == 0


def test_noise_still_gives_a_closed_manifold(grid):
    noise = torch.randn(21, 21, 21, generator=torch.Generator().manual_seed(0))
    for axis in range(3):  # outside at the border, so that nothing is cut open by the box
        noise.select(axis, 0).fill_(1.0)
        noise.select(axis, 20).fill_(1.0)
    field = noise.flatten()
    mesh = as_trimesh(grid.extract(field, lambda rows: (field[rows], grid.points[rows])))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


def test_only_corners_of_crossed_tetrahedra_are_asked_for(grid):
    asked = []

    def refine(rows):
        asked.append(rows)
        return sphere(grid.points[rows]), grid.points[rows]

    surface = grid.extract(sphere(grid.points), refine)
    (rows,) = asked
    assert len(rows) < len(grid.points) / 2
    assert torch.equal(torch.unique(surface.edges), torch.arange(len(rows)))  # every one of them shapes the surface
    diagonal = (torch.tensor(BOX_MAX) - torch.tensor(BOX_MIN)).norm() / 20
    assert (sphere(grid.points[rows]).abs() < diagonal).all()


def test_brute_force_finds_the_same_crossing_edges(grid):
    field = sphere(grid.points)
    surface = extract(grid, sphere)
    crossing = surface.grid_rows[surface.edges]
    side = grid.resolution + 1
    offsets = [torch.tensor(o) for o in itertools.product((0, 1), repeat=3) if any(o)]  # the edges of Kuhn tetrahedra
    index = torch.cartesian_prod(*[torch.arange(side)] * 3)
    expected = []
    for offset in offsets:
        start = index[((index + offset) < side).all(1)]
        a = start @ grid._stride
        b = (start + offset) @ grid._stride
        crossed = (field[a] < 0) != (field[b] < 0)
        expected.append(torch.stack([a[crossed], b[crossed]], dim=1))
    expected = torch.unique(torch.cat(expected), dim=0)  # lexicographic
    assert torch.equal(crossing, expected)


def test_gradients_against_finite_differences():
    grid = TetrahedralGrid(6)
    grid.points = grid.points.double()
    base = sphere(grid.points, 0.9)
    generator = torch.Generator().manual_seed(0)
    rows = extract(grid, lambda p: sphere(p, 0.9)).grid_rows
    weights = torch.randn(10_000, 3, generator=generator, dtype=torch.float64)

    def value(distance, offset):
        surface = grid.extract(base, lambda r: (distance, grid.points[r] + offset))
        return (surface.vertices * weights[: len(surface.vertices)]).sum()

    distance = base[rows].clone().requires_grad_()
    offset = (0.05 * torch.randn(len(rows), 3, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(value, (distance, offset), eps=1e-7, atol=1e-5, fast_mode=True)


def test_weights_interpolate_anything_known_at_grid_points(grid):
    surface = extract(grid, sphere)
    values = grid.points[surface.grid_rows] @ torch.tensor([1.0, -2.0, 0.5]) + 0.3  # linear: exact
    at_vertices = (values[surface.edges] * surface.weights).sum(1)
    expected = surface.vertices @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
    torch.testing.assert_close(at_vertices, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(surface.weights.sum(1), torch.ones(len(surface.vertices)))


@pytest.mark.parametrize("level", [-10.0, 10.0])
def test_no_crossing_gives_an_empty_surface(grid, level):
    surface = extract(grid, lambda p: torch.full((len(p),), level))
    assert surface.vertices.shape == (0, 3)
    assert surface.faces.shape == (0, 3)


def test_zeros_on_grid_points_give_finite_vertices(grid):
    field = sphere(grid.points)
    field[field.abs() < 0.05] = 0.0
    distance = field.clone().requires_grad_()
    surface = grid.extract(field, lambda rows: (distance[rows], grid.points[rows]))
    surface.vertices.square().sum().backward()
    assert torch.isfinite(surface.vertices).all()
    assert torch.isfinite(distance.grad).all()
    assert as_trimesh(surface).is_watertight


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_regular_grid_finds_what_any_tetrahedra_find(share):
    """Random signs cross every kind of tetrahedron, the border of the box included; order and numbers are the same."""
    grid = TetrahedralGrid(5)
    sdf = torch.where(torch.rand(6**3, generator=torch.Generator().manual_seed(1)) < share, -1.0, 1.0)
    for part, expected in zip(grid.topology(sdf), MarchingTetrahedra.topology(grid, sdf), strict=True):
        assert torch.equal(part, expected)


def test_points_near_the_surface_are_those_within_reach():
    grid = TetrahedralGrid(12)
    grid.reach = 2
    rows, _, _ = grid.topology(sphere(grid.points))
    cells = torch.cartesian_prod(*[torch.arange(13)] * 3)
    apart = (cells[:, None] - cells[rows][None]).abs().amax(-1).amin(1)
    assert torch.equal(grid.near, torch.nonzero(apart <= 2)[:, 0])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_compacting_needs_no_look_at_the_values(device):
    kept = torch.tensor([False, True, True, False, True]).to(device)
    positions, rank = compact(kept, 3)
    assert positions.shape == (3,)
    assert rank.shape == (5,)
    if device == "cpu":
        assert positions.tolist() == [1, 2, 4]
        assert rank[positions].tolist() == [0, 1, 2]

"""A regular tetrahedral grid and marching tetrahedra with gradients (Doi and Koide 1991; Shen et al. 2021 for learning).

Every cell is split into the six tetrahedra of the Kuhn (Freudenthal) subdivision, which agree on shared faces, so the
surface is watertight inside the box. Nothing is stored per tetrahedron: only cells that the surface crosses are split.
The signed distance is negative inside; triangles are oriented with their normals to the outside.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gazegaussian.geometry.grid_topology import GridTopology
from gazegaussian.utils.constants import constant

BOX_MIN = (-1.6, -1.7, -2.5)
BOX_MAX = (1.6, 1.8, 1.0)
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@dataclass(frozen=True)
class Surface:
    """A triangle mesh on grid edges."""

    vertices: Tensor  # [V, 3]
    faces: Tensor  # [F, 3] long
    grid_rows: Tensor  # [P] rows of the grid that were evaluated with gradient
    edges: Tensor  # [V, 2] positions in `grid_rows` of the edge's ends
    weights: Tensor  # [V, 2] of the ends; they interpolate whatever is known at grid points


def _kuhn_offsets() -> Tensor:
    """Corner offsets of the six tetrahedra of a unit cell, all positively oriented. [6, 4, 3]."""
    tets = []
    for order in itertools.permutations(range(3)):
        corner = torch.zeros(3, dtype=torch.long)
        corners = [corner.clone()]
        for axis in order:
            corner[axis] += 1
            corners.append(corner.clone())
        tet = torch.stack(corners)
        if torch.det((tet[1:] - tet[0]).double()) < 0:
            tet = tet[[0, 2, 1, 3]]
        tets.append(tet)
    return torch.stack(tets)


def _triangle_table() -> Tensor:
    """Local edges of the (up to two) triangles of each of the 16 sign patterns, -1 where none. [16, 2, 3].

    Bit i of the pattern says that corner i is inside. Triangles are oriented on a reference tetrahedron.
    """
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    middles = torch.stack([(corners[a] + corners[b]) / 2 for a, b in EDGES])
    edge_of = {edge: i for i, edge in enumerate(EDGES)}
    table = torch.full((16, 2, 3), -1, dtype=torch.long)
    for pattern in range(1, 15):
        inside = [i for i in range(4) if pattern >> i & 1]
        outside = [i for i in range(4) if i not in inside]
        if len(inside) == 2:
            (a, b) = inside
            (c, d) = outside
            ring = [edge_of[tuple(sorted(pair))] for pair in ((a, c), (a, d), (b, d), (b, c))]  # type: ignore[index]
            triangles = [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]
        else:
            tip = inside[0] if len(inside) == 1 else outside[0]
            triangles = [[i for i, edge in enumerate(EDGES) if tip in edge]]
        outward = corners[outside].mean(0) - corners[inside].mean(0)
        for slot, (p, q, r) in enumerate(triangles):
            normal = torch.linalg.cross(middles[q] - middles[p], middles[r] - middles[p])
            table[pattern, slot] = torch.tensor([p, q, r] if normal @ outward > 0 else [p, r, q])
    return table


class MarchingTetrahedra(ABC):
    """Marching tetrahedra on some set of tetrahedra; subclasses say which ones.

    Args:
        points: Corners, head frame. [P, 3]
        table: Local edges of the triangles of each pattern of corners inside, -1 where none. [16, 2, 3]
    """

    def __init__(self, points: Tensor, table: Tensor) -> None:
        self.points = points
        self._table = table

    @abstractmethod
    def crossing_tetrahedra(self, sdf: Tensor) -> Tensor:
        """Rows of the four corners of every tetrahedron that the zero level crosses.

        Args:
            sdf: Signed distance at all points. [P]

        Returns:
            Rows of points. [T, 4]
        """

    def inside(self, sdf: Tensor) -> Tensor:
        """Which points count as inside. [P] -> [P] bool."""
        return sdf < 0

    def extract(self, sdf: Tensor, refine: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Surface:
        """Extract the zero level.

        Args:
            sdf: Signed distance at all points, no gradient needed. [P]
            refine: Given rows [R], evaluates signed distance [R] and moved positions [R, 3] with gradient there;
                only corners of crossed tetrahedra are asked for.

        Returns:
            The surface; vertices are ordered by their (smaller, larger) row.
        """
        # The sign pattern follows the gradient pass where both agree and the grid pass otherwise.
        rows, edges, faces = self.topology(sdf)
        distance, positions = refine(rows)
        a, b = distance[edges].unbind(-1)
        share = (a / torch.where((a - b).abs() < 1e-9, torch.full_like(a, 1e-9), a - b)).clamp(0, 1)
        weights = torch.stack([1 - share, share], dim=-1)
        vertices = (positions[edges] * weights[..., None]).sum(1)
        return Surface(vertices, faces, rows, edges, weights)

    def topology(self, sdf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find what the zero level crosses, on any tetrahedra. The host waits seven times; a regular grid does with one.

        Args:
            sdf: Signed distance at all points. [P]

        Returns:
            Rows of the corners of crossed tetrahedra [R]; the ends of crossed edges, as positions in these rows, the lower
            one first [V, 2]; triangles over these edges [F, 3].
        """
        tets = self.crossing_tetrahedra(sdf)
        rows, local = torch.unique(tets, return_inverse=True)  # local: [T, 4] positions in rows
        inside = self.inside(sdf)[rows]
        ends = local[:, constant(EDGES, local)]  # [T, 6, 2]
        ends = ends.sort(dim=-1).values
        keys = ends[..., 0] * len(rows) + ends[..., 1]
        crossed = inside[ends[..., 0]] != inside[ends[..., 1]]
        unique = torch.unique(keys[crossed])
        edges = torch.stack([unique // len(rows), unique % len(rows)], dim=-1)  # [V, 2]
        pattern = (inside[local].long() << torch.arange(4, device=sdf.device)).sum(1)  # [T]
        return rows, edges, self._faces(pattern, keys, unique)

    def _faces(self, pattern: Tensor, keys: Tensor, unique: Tensor) -> Tensor:
        triangles = self._table[pattern]  # [T, 2, 3] local edges
        one, two = (torch.nonzero(kind)[:, 0] for kind in (triangles[:, 1, 0] < 0, triangles[:, 1, 0] >= 0))
        single = torch.gather(keys[one], 1, triangles[one, 0])
        double = torch.gather(keys[two], 1, triangles[two].flatten(1)).reshape(-1, 3)
        return torch.searchsorted(unique, torch.cat([single, double]))


class TetrahedralGrid(MarchingTetrahedra):
    """The grid over the model's box.

    Args:
        resolution: Cells per axis.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.reach = 0  # grid steps; `near` are then the rows of the points so near to the surface that was last found
        self.near: Tensor | None = None
        axes = [torch.linspace(low, high, resolution + 1) for low, high in zip(BOX_MIN, BOX_MAX, strict=True)]
        side = resolution + 1
        with torch.device("cpu"):  # small tables; a model may be built on the meta device, to learn its shapes
            table = _triangle_table()
            self._stride = torch.tensor([side * side, side, 1])
            self._tets = _kuhn_offsets() @ self._stride  # [6, 4] row offsets
            self._topology = GridTopology(side, _kuhn_offsets(), EDGES, table)
        super().__init__(torch.cartesian_prod(*axes), table)  # [(n + 1)^3, 3]

    def to(self, device: torch.device) -> None:
        """Move the grid."""
        for name in ("points", "_stride", "_tets", "_table"):
            setattr(self, name, getattr(self, name).to(device))
        self._topology.to(device)

    def topology(self, sdf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find what the zero level crosses, as `MarchingTetrahedra.topology` does, with one wait of the host."""
        *crossed, self.near = self._topology.find(self.inside(sdf), self.reach)
        return crossed[0], crossed[1], crossed[2]

    def tetrahedra(self) -> Tensor:
        """Rows of the four corners of every tetrahedron. [6 n^3, 4]."""
        cells = torch.cartesian_prod(*[torch.arange(self.resolution, device=self.points.device)] * 3) @ self._stride
        return (cells[:, None, None] + self._tets).reshape(-1, 4)

    def crossing_tetrahedra(self, sdf: Tensor) -> Tensor:
        """Rows of the four corners of every tetrahedron that the zero level crosses. [(n + 1)^3] -> [T, 4]."""
        side = self.resolution + 1
        inside = (sdf < 0).reshape(1, 1, side, side, side).float()
        some = torch.nn.functional.max_pool3d(inside, 2, 1)
        every = -torch.nn.functional.max_pool3d(-inside, 2, 1)
        cells = torch.nonzero((some != every)[0, 0]) @ self._stride  # [C] row of the cell's first corner
        tets = (cells[:, None, None] + self._tets).reshape(-1, 4)
        corner_inside = (sdf < 0)[tets]
        return tets[corner_inside.any(1) & ~corner_inside.all(1)]

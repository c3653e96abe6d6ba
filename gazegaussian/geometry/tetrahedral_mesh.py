"""Tetrahedra given one by one, as published checkpoints carry them; numbering as in the published code.

Triangles and their corners come in the published order (kaolin's table, Apache-2.0); the tetrahedra are not oriented, and
neither are the triangles. Subdivision numbers points and tetrahedra as kaolin's `subdivide_tetmesh` does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.geometry.tetrahedra import EDGES, MarchingTetrahedra

# Local edges of the triangles of each pattern; bit i says that corner i is outside (signed distance > 0).
_OUTSIDE_TABLE = (
    (), (1, 0, 2), (4, 0, 3), (1, 4, 2, 1, 3, 4), (3, 1, 5), (2, 3, 0, 2, 5, 3), (1, 4, 0, 1, 5, 4), (4, 2, 5),
    (4, 5, 2), (4, 1, 0, 4, 5, 1), (3, 2, 0, 3, 5, 2), (1, 3, 5), (4, 1, 2, 4, 3, 1), (3, 0, 4), (2, 0, 1), (),
)  # fmt: skip

# The eight children of a tetrahedron: corners 0 to 3, then the middles of its edges in the order of `EDGES`.
_CHILDREN = (
    (0, 4, 5, 6),
    (1, 7, 4, 8),
    (2, 5, 7, 9),
    (3, 6, 9, 8),
    (4, 5, 6, 8),
    (4, 5, 8, 7),
    (9, 5, 8, 6),
    (9, 5, 7, 8),
)


class TetrahedralMesh(MarchingTetrahedra):
    """Any tetrahedra.

    Args:
        points: Corners, head frame. [P, 3]
        tets: Rows of the corners of each tetrahedron. [T, 4]
    """

    def __init__(self, points: Tensor, tets: Tensor) -> None:
        rows = [[*row, *[-1] * (6 - len(row))] for row in _OUTSIDE_TABLE]
        table = torch.tensor(rows, device=points.device).view(16, 2, 3)
        super().__init__(points, table.flip(0))  # bits here: inside
        self.tets = tets

    def inside(self, sdf: Tensor) -> Tensor:
        """Which points count as inside: the zero level itself, too (published). [P] -> [P] bool."""
        return sdf <= 0

    def crossing_tetrahedra(self, sdf: Tensor) -> Tensor:
        """Rows of the four corners of every tetrahedron that the zero level crosses, in their order. [P] -> [T, 4]."""
        corners = self.inside(sdf)[self.tets]
        return self.tets[corners.any(1) & ~corners.all(1)].long()

    def subdivided(self) -> TetrahedralMesh:
        """Split every tetrahedron into eight at the middles of its edges."""
        ends = self.tets.long()[:, torch.tensor(EDGES, device=self.tets.device)].sort(dim=-1).values  # [T, 6, 2]
        count = len(self.points)
        keys, middle_of = torch.unique(ends[..., 0] * count + ends[..., 1], return_inverse=True)
        middles = (self.points[keys // count] + self.points[keys % count]) / 2
        local = torch.cat([self.tets.long(), middle_of + count], dim=1)  # [T, 10]
        children = local[:, torch.tensor(_CHILDREN, device=local.device)]  # [T, 8, 4]
        tets = children.transpose(0, 1).reshape(-1, 4).to(self.tets.dtype)
        return TetrahedralMesh(torch.cat([self.points, middles]), tets)

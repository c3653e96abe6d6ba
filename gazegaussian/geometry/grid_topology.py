"""Marching tetrahedra on a regular grid with one wait of the host: everything is counted first, then made.

An edge of the Kuhn subdivision goes from a grid point by 1 along some of the axes; these seven directions are numbered by
the bits (x, y, z), minus one. The corners of crossed tetrahedra are exactly the ends of crossed edges, since any two corners
of a tetrahedron share an edge.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

DIRECTIONS = tuple(itertools.product((0, 1), repeat=3))[1:]  # x slowest: higher numbers lead to higher rows


def compact(kept: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the true entries whose number is known already, so that the host need not wait for it.

    Args:
        kept: [N] bool
        count: How many of them are true.

    Returns:
        Their positions [count], and the rank of every true entry among them [N] (of the others it means nothing).
    """
    rank = torch.cumsum(kept, 0) - 1
    if kept.device.type == "cpu":
        return torch.nonzero(kept)[:, 0], rank
    indices = torch.arange(len(kept), device=kept.device)
    positions = indices.new_empty(count + 1)
    return positions.scatter_(0, torch.where(kept, rank, count), indices)[:count], rank


def _dilated(grid: Tensor, reach: int) -> Tensor:
    """Points within so many steps of a true one along each axis. [S, S, S] bool"""
    dilated = grid[None, None].float()
    for axis in range(3):  # a cube is three lines
        width = [1, 1, 1]
        width[axis] = 2 * reach + 1
        dilated = torch.nn.functional.max_pool3d(dilated, width, 1, [side // 2 for side in width])
    return dilated[0, 0] > 0


class GridTopology:
    """Which points, edges and tetrahedra of a grid a zero level crosses.

    Args:
        side: Points per axis.
        corners: Corner offsets of the six tetrahedra of a cell, in cells. [6, 4, 3]
        edges: Local corners of a tetrahedron's edges, as `table` numbers them.
        table: Local edges of the triangles of each pattern of corners inside, -1 where none. [16, 2, 3]
    """

    def __init__(self, side: int, corners: Tensor, edges: tuple[tuple[int, int], ...], table: Tensor) -> None:
        self.side = side
        self._corners: list[list[tuple[int, ...]]] = [[tuple(corner) for corner in tet] for tet in corners.tolist()]
        stride = torch.tensor([side * side, side, 1])
        self._tets = corners @ stride  # [6, 4] row offsets
        self._steps = torch.tensor(DIRECTIONS) @ stride  # [7] row offsets
        ends = corners[:, torch.tensor(edges)]  # [6 tets, 6 edges, 2, 3]
        self._edge_start = ends.amin(2) @ stride  # [6, 6] row offset of an edge's lower end
        bits = ends.amax(2) - ends.amin(2)
        self._edge_direction = bits @ torch.tensor([4, 2, 1]) - 1  # [6, 6]
        self._bits = torch.arange(4)
        self._table = table

    def to(self, device: torch.device) -> None:
        """Move the tables."""
        for name in ("_tets", "_steps", "_edge_start", "_edge_direction", "_bits", "_table"):
            setattr(self, name, getattr(self, name).to(device))

    def find(self, inside: Tensor, reach: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Find the surface's topology.

        Args:
            inside: Which grid points are inside. [side^3] bool
            reach: Also find the points within so many grid steps of the surface; 0 finds none.

        Returns:
            Rows of the corners of crossed tetrahedra [R]; the ends of crossed edges, as positions in these rows, the lower
            one first [V, 2]; triangles over these edges [F, 3]. Ordered by row, by ends, and by tetrahedron (those with
            one triangle first). Last the rows of the points within reach [N].
        """
        grid = inside.view(self.side, self.side, self.side)
        crossed, touched = self._crossed_edges(grid)
        within = self._corners_within(grid)  # [6, n, n, n]
        mixed = ((within > 0) & (within < 4)).any(0).flatten()
        near = _dilated(touched, reach).flatten() if reach else touched.new_zeros(1)
        sizes = [touched.sum(), crossed.sum(), mixed.sum(), (within % 2 == 1).sum(), (within == 2).sum(), near.sum()]
        points, edges, cells, singles, doubles, within_reach = torch.stack(sizes).tolist()  # the one wait

        rows, local = compact(touched.flatten(), points)
        flat, vertex = compact(crossed.view(-1, len(DIRECTIONS))[rows].flatten(), edges)
        low = torch.div(flat, len(DIRECTIONS), rounding_mode="floor")
        ends = torch.stack([low, local[rows[low] + self._steps[flat % len(DIRECTIONS)]]], dim=-1)

        first = self._first_corners(compact(mixed, cells)[0])
        tets = (first[:, None, None] + self._tets).reshape(-1, 4)
        triangles = self._table[(inside[tets].long() << self._bits).sum(1)]  # [6 C, 2, 3] local edges
        count = (triangles[:, :, 0] >= 0).sum(1)

        def vertices_of(which: Tensor, edges: Tensor) -> Tensor:
            kind = (which % len(self._tets))[:, None]
            cell = torch.div(which, len(self._tets), rounding_mode="floor")
            start = first[cell][:, None] + self._edge_start[kind, edges]
            return vertex[local[start] * len(DIRECTIONS) + self._edge_direction[kind, edges]]

        one = compact(count == 1, singles)[0]
        two = compact(count == 2, doubles)[0]
        single = vertices_of(one, triangles[one, 0])
        double = vertices_of(two, triangles[two].flatten(1)).reshape(-1, 3)
        return rows, ends, torch.cat([single, double]), compact(near, within_reach)[0]

    def _crossed_edges(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Edges with one end inside [side, side, side, 7], by their lower end, and the points that are such ends."""
        crossed = grid.new_zeros(*grid.shape, len(DIRECTIONS))
        touched = torch.zeros_like(grid)
        for number, direction in enumerate(DIRECTIONS):
            low = tuple(slice(0, self.side - step) for step in direction)
            high = tuple(slice(step, None) for step in direction)
            differ = grid[low] != grid[high]
            crossed.select(-1, number)[low] = differ
            touched[low] |= differ
            touched[high] |= differ
        return crossed, touched

    def _corners_within(self, grid: Tensor) -> Tensor:
        """How many corners of each tetrahedron are inside. [6, n, n, n] uint8."""
        cells = self.side - 1
        bytes_ = grid.to(torch.uint8)
        within = bytes_.new_zeros(len(self._corners), cells, cells, cells)
        for tet, corners in zip(within, self._corners, strict=True):
            for x, y, z in corners:
                tet += bytes_[x : x + cells, y : y + cells, z : z + cells]
        return within

    def _first_corners(self, cells: Tensor) -> Tensor:
        """Rows of the first corners of cells. [C] -> [C]."""
        n = self.side - 1
        z = cells % n
        xy = torch.div(cells, n, rounding_mode="floor")
        return torch.div(xy, n, rounding_mode="floor") * self.side**2 + xy % n * self.side + z

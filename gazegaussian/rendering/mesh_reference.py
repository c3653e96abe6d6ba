"""Visibility for meshes in plain torch: the oracle of `mesh_kernels` and the fallback for float64."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.rendering.binning import expand_counts, pixel_boxes


def _pairs(low: Tensor, high: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """(box, pixel) pairs of the boxes [K, 2] .. [K, 2]: box id, x, y."""
    x0, x1, y0, y1 = pixel_boxes((low + high) / 2, (high - low) / 2, width, height)
    owner, rank = expand_counts((x1 - x0) * (y1 - y0))
    columns = (x1 - x0)[owner]
    row = torch.div(rank, columns, rounding_mode="floor")
    return owner, x0[owner] + rank - row * columns, y0[owner] + row


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _winding(corners: Tensor, depth: Tensor, near: float) -> Tensor:
    """+1, -1 by the winding on the image; 0 if not drawn. [F, 3, 2], [F, 3] -> [F]"""
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    drawn = (depth > near).all(-1) & torch.isfinite(area)
    return torch.where(drawn, torch.sign(area), 0)


def _first_best(score: Tensor, index: Tensor, pixel: Tensor, pixels: int) -> Tensor:
    """Per pixel the index with the smallest score, the lowest one among equals; -1 for none. [pixels]"""
    best = score.new_full((pixels,), torch.inf).scatter_reduce_(0, pixel, score, "amin")
    is_best = score == best[pixel]
    first = torch.full((pixels,), torch.iinfo(torch.int64).max, device=score.device)
    first.scatter_reduce_(0, pixel[is_best], index[is_best], "amin")
    return torch.where(torch.isfinite(best), first, -1)


@torch.no_grad()
def visible_faces(xy: Tensor, depth: Tensor, faces: Tensor, near: float, width: int, height: int) -> Tensor:
    """Face seen at each pixel centre. Arguments and returns as in `mesh_kernels.visible_faces`."""
    rows = []
    for points, z in zip(xy, depth, strict=True):
        corners = points[faces.long()]
        corner_depth = z[faces.long()]
        drawn = torch.nonzero(_winding(corners, corner_depth, near))[:, 0]
        corners = corners[drawn]
        corner_depth = corner_depth[drawn]
        owner, px, py = _pairs(corners.amin(1), corners.amax(1), width, height)
        delta = corners[owner] - (torch.stack([px, py], -1).to(xy) + 0.5)[:, None]
        area = _cross(delta[:, 1] - delta[:, 0], delta[:, 2] - delta[:, 0])
        wa = _cross(delta[:, 1], delta[:, 2]) / area
        wb = _cross(delta[:, 2], delta[:, 0]) / area
        weights = torch.stack([wa, wb, 1 - wa - wb], -1)
        inside = (weights >= 0).all(-1)
        nearness = (weights / corner_depth[owner]).sum(-1)[inside]
        rows.append(_first_best(-nearness, drawn[owner[inside]], (py * width + px)[inside], width * height))
    return torch.stack(rows)


@torch.no_grad()
def nearest_border(
    xy: Tensor, depth: Tensor, faces: Tensor, edges: Tensor, near: float, covered: Tensor, width: int, radius: float
) -> Tensor:
    """Contour edge nearest to each pixel centre. Arguments and returns as in `mesh_kernels.nearest_border`."""
    height = covered.shape[1] // width
    rows = []
    for points, z, cover in zip(xy, depth, covered, strict=True):
        winding = torch.nn.functional.pad(_winding(points[faces.long()], z[faces.long()], near), (0, 1))  # [-1] = 0
        ends = points[edges[:, :2].long()]
        contour = winding[edges[:, 2].long()] != winding[edges[:, 3].long()]
        kept = torch.nonzero(contour & torch.isfinite(ends.sum((1, 2))))[:, 0]
        ends = ends[kept]
        owner, px, py = _pairs(ends.amin(1) - radius, ends.amax(1) + radius, width, height)
        pixel = torch.stack([px, py], -1).to(xy) + 0.5
        nearest = closest_point(pixel, ends[owner])
        square = (pixel - nearest).square().sum(-1)
        at = nearest.floor().long()
        at = at[:, 1].clamp(0, height - 1) * width + at[:, 0].clamp(0, width - 1)
        inside = (cover[py * width + px] & 1) == 1
        ok = (square <= radius * radius) & (~inside | ((cover[at] & 2) != 0))
        rows.append(_first_best(square[ok], kept[owner[ok]], (py * width + px)[ok], width * height))
    return torch.stack(rows)


def closest_point(points: Tensor, ends: Tensor) -> Tensor:
    """Point of a segment that is nearest to a point. [K, 2], [K, 2 ends, 2] -> [K, 2]"""
    start = ends[:, 0]
    along = ends[:, 1] - ends[:, 0]
    length = along.square().sum(-1).clamp_min(1e-12)
    position = (((points - start) * along).sum(-1) / length).clamp(0, 1)
    return start + position[:, None] * along

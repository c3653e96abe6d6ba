"""Which splats touch which part of the image, in depth order.

CPU: bands of rows, by a counting sort in Warp (sequential, 1-2 ms for 30,000 splats). CUDA: square tiles, in torch.
The batch is folded in: splat ids run over B * N and bands (tiles) over B * bands per image.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.
# `int(0)` declares a variable to Warp, a bare 0 would be a constant.
# ruff: noqa: UP018, RUF046
# mypy: disable-error-code="valid-type"

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gazegaussian.rendering._warp import as_array, launch, wp
from gazegaussian.rendering.projection import ProjectedSplats


@dataclass(frozen=True)
class Bands:
    """Splats of each row band, front to back."""

    splats: Tensor  # [E] int32 splat id of each (band, splat) entry
    offsets: Tensor  # [B * per_image + 1] int32 start of each band in `splats`
    boxes: Tensor  # [M, 4] int32 pixels x0, x1, y0, y1 (ends exclusive); empty = culled
    slots: Tensor  # [M + 1] int32 start of each splat's entries, when ordered by splat
    rows: int  # pixel rows in a band
    per_image: int


@dataclass(frozen=True)
class Tiles:
    """Splats of each square tile, front to back."""

    splats: Tensor  # [E] int32
    offsets: Tensor  # [B * across * down + 1] int32
    side: int  # px
    across: int
    down: int


@wp.kernel(enable_backward=False)
def _count_bands(
    means: wp.array(dtype=wp.vec2),
    extents: wp.array(dtype=wp.vec2),
    width: int,
    height: int,
    per_batch_row: int,
    rows: int,
    per_image: int,
    boxes: wp.array(dtype=wp.vec4i),
    slots: wp.array(dtype=int),
    counts: wp.array(dtype=int),
) -> None:
    i = wp.tid()
    m = means[i]
    e = extents[i]
    box = wp.vec4i(0, 0, 0, 0)
    n = int(0)
    if e[0] > 0.0:
        # Clamped as floats: a far-away splat must not overflow the integers.
        w = float(width)
        h = float(height)
        x0 = int(wp.clamp(wp.ceil(m[0] - e[0] - 0.5), 0.0, w))
        x1 = int(wp.clamp(wp.floor(m[0] + e[0] - 0.5) + 1.0, 0.0, w))
        y0 = int(wp.clamp(wp.ceil(m[1] - e[1] - 0.5), 0.0, h))
        y1 = int(wp.clamp(wp.floor(m[1] + e[1] - 0.5) + 1.0, 0.0, h))
        if x1 > x0 and y1 > y0:
            box = wp.vec4i(x0, x1, y0, y1)
            first = y0 // rows
            n = (y1 - 1) // rows - first + 1
            base = (i // per_batch_row) * per_image + first + 1
            for j in range(n):
                counts[base + j] = counts[base + j] + 1
    boxes[i] = box
    slots[i + 1] = n


@wp.kernel(enable_backward=False)
def _fill_bands(
    order: wp.array(dtype=wp.int64),
    boxes: wp.array(dtype=wp.vec4i),
    per_batch_row: int,
    rows: int,
    per_image: int,
    cursors: wp.array(dtype=int),
    splats: wp.array(dtype=int),
) -> None:
    i = int(order[wp.tid()] & wp.int64(4294967295))
    box = boxes[i]
    first = box[2] // rows
    base = (i // per_batch_row) * per_image
    for band in range(first, (box[3] - 1) // rows + 1):
        at = cursors[base + band]
        splats[at] = i
        cursors[base + band] = at + 1


def bin_bands(splats: ProjectedSplats, batch: int, width: int, height: int, rows: int) -> Bands:
    """Sort splats into row bands, on the CPU.

    Args:
        splats: Projected splats, float32. [M = batch * N]
        batch: Images.
        width: Pixels.
        height: Pixels.
        rows: Height of a band in pixels.

    Returns:
        Entries of every band, nearest splat first; equal depths in the order of their ids.
    """
    total = splats.means.shape[0]
    per_row = max(total // batch, 1)
    per_image = (height + rows - 1) // rows
    cpu = torch.device("cpu")
    boxes = torch.empty(total, 4, dtype=torch.int32)
    slots = torch.zeros(total + 1, dtype=torch.int32)
    counts = torch.zeros(batch * per_image + 1, dtype=torch.int32)
    means = as_array(splats.means.contiguous(), wp.vec2)
    extents = as_array(splats.extents.contiguous(), wp.vec2)
    box_array = as_array(boxes, wp.vec4i)
    where = [width, height, per_row, rows, per_image, box_array, as_array(slots), as_array(counts)]
    launch(_count_bands, total, [means, extents, *where], cpu)

    kept = np.flatnonzero(slots.numpy()[1:])
    # Positive floats are ordered like their bits; the id in the low half makes every key unique, so any sort is stable.
    bits = splats.depths.detach().contiguous().numpy().view(np.int32)[kept].astype(np.int64)
    order = torch.from_numpy(np.sort((bits << 32) | kept))
    offsets = torch.cumsum(counts, 0, dtype=torch.int32)
    slots = torch.cumsum(slots, 0, dtype=torch.int32)
    entries = torch.empty(int(offsets[-1]), dtype=torch.int32)
    fill = [as_array(order), box_array, per_row, rows, per_image, as_array(offsets.clone()), as_array(entries)]
    launch(_fill_bands, order.shape[0], fill, cpu)
    return Bands(entries, offsets, boxes, slots, rows, per_image)


def pixel_boxes(means: Tensor, extents: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels whose centres lie in the boxes ``means +- extents``: x0, x1, y0, y1, ends exclusive, empty if culled."""
    low = means - extents - 0.5
    high = means + extents - 0.5
    x0 = low[:, 0].ceil().clamp(0, width).long()
    x1 = (high[:, 0].floor() + 1).clamp(0, width).long()
    y0 = low[:, 1].ceil().clamp(0, height).long()
    y1 = (high[:, 1].floor() + 1).clamp(0, height).long()
    return x0, torch.maximum(x0, x1), y0, torch.maximum(y0, y1)


def expand_counts(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts [M]: the owner of every element, and its rank within the owner. 2 x [sum of counts]"""
    ends = torch.cumsum(counts, 0)
    total = int(ends[-1]) if counts.numel() else 0  # the one number that the host waits for
    owners = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts, output_size=total)
    starts = ends - counts
    return owners, torch.arange(owners.numel(), device=counts.device) - starts[owners]


class ListRoom:
    """How long the tile lists of the next frame may be, so that the host need not wait for their length.

    For the first frame the host waits. A later list that is longer loses its furthest splats; `fits` then makes room, and
    the frame is to be rendered again.

    Attributes:
        needed: Length of the last list, on its device; None where the host knows it. [] long
    """

    margin = 1.5  # over the length of the list that was counted last

    def __init__(self) -> None:
        self.needed: Tensor | None = None
        self._entries = 0
        self._images = 0

    def expand(self, counts: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """As `expand_counts`, with as many elements as there is room for; those behind the last one mean nothing.

        Args:
            counts: [M]
            images: In the batch; another number than before is a first frame.
        """
        if images != self._images or not self._entries:
            self._images = images
            self.needed = None
            owners, ranks = expand_counts(counts)
            self.fits(len(owners))
            return owners, ranks
        ends = torch.cumsum(counts, 0)
        self.needed = ends[-1]
        slots = torch.arange(self._entries, device=counts.device)
        owners = torch.searchsorted(ends, slots, right=True).clamp_max(len(counts) - 1)
        return owners, slots - (ends - counts)[owners]

    def fits(self, needed: Tensor | int) -> bool:
        """Tell whether a list of this length was complete; make room for it if not."""
        length = int(needed)
        complete = length <= self._entries
        if not complete:
            self._entries = int(self.margin * length)
        return complete


def bin_tiles(
    splats: ProjectedSplats, batch: int, width: int, height: int, side: int, room: ListRoom | None = None
) -> Tiles:
    """Sort splats into square tiles, on any device.

    Args:
        splats: Projected splats. [M = batch * N]
        batch: Images.
        width: Pixels.
        height: Pixels.
        side: Edge of a tile in pixels.
        room: Of frames: how long the lists may be; None lets the host wait for their length.

    Returns:
        Entries of every tile, nearest splat first; equal depths in the order of their ids.
    """
    across = (width + side - 1) // side
    down = (height + side - 1) // side
    per_row = max(splats.means.shape[0] // batch, 1)
    order = torch.argsort(splats.depths.detach(), stable=True)
    # Culled splats stay, with no entries: leaving them out would make the host wait for how many are left.
    x0, x1, y0, y1 = pixel_boxes(splats.means.detach()[order], splats.extents[order], width, height)
    hit = (splats.extents[order, 0] > 0) & (x1 > x0) & (y1 > y0)
    first_x = x0 // side
    first_y = y0 // side
    columns = (x1 - 1) // side - first_x + 1
    counts = torch.where(hit, columns * ((y1 - 1) // side - first_y + 1), 0)
    owner, rank = expand_counts(counts) if room is None else room.expand(counts, batch)
    row = rank // columns[owner]
    tile = (order[owner] // per_row * down + first_y[owner] + row) * across
    tile = (tile + first_x[owner] + rank - row * columns[owner]).int()
    if room is not None and room.needed is not None:  # the rest of the room is behind the last tile
        tile = torch.where(torch.arange(len(tile), device=tile.device) < room.needed, tile, batch * across * down)
    tile, permutation = torch.sort(tile, stable=True)
    bounds = torch.arange(batch * across * down + 1, dtype=tile.dtype, device=tile.device)
    offsets = torch.searchsorted(tile, bounds, out_int32=True)
    return Tiles(order[owner[permutation]].int(), offsets, side, across, down)

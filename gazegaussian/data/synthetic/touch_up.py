"""Mends a drawn head in the image: gaps between hair and skin, loose bits of hair, specks at the eyelids.

The hair shell has no thickness and the lids are coarse, so that some pixels show what cannot be seen: the background
between hair and temple, a strand that hangs in the air, a spot of the eyeball in front of the lid. Readers erode the head mask
by 5x5 pixels, which makes a white rectangle of every such gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

GAP = 0.03  # of the image width: narrower gaps at the hair are shut
_HOLE = 0.002  # of the image's area: so are holes up to this size that border on hair
_LOOSE = 0.01  # of the head's area: smaller parts that hang on by less than the erosion takes are cut off
_ISLAND = 0.0015  # of the image's area: skin that sticks out of the hair
_EVERY_NEIGHBOUR = np.ones((3, 3), bool)
_ERODED = np.ones((5, 5), bool)  # by readers, see `pixels.erode`


def hair_gaps(head: Mask, hair: Mask) -> Mask:
    """Find background that shows through narrow gaps and small holes beside the hair.

    Args:
        head: What is covered by the head. [S, S]
        hair: What of it is hair. [S, S]

    Returns:
        Background pixels to be filled. [S, S]
    """
    gaps = np.zeros_like(head)
    if not hair.any():
        return gaps
    radius = GAP * len(head) / 2
    margin = int(radius) + 2
    box = _box(hair, margin, len(head))
    seen = np.pad(head[box], margin)
    near = ndimage.distance_transform_edt(~seen) <= radius
    shut = ndimage.distance_transform_edt(near) > radius
    holes, count = ndimage.label(~(shut | seen))
    small = np.bincount(holes.ravel(), minlength=count + 1) <= _HOLE * head.size
    small[0] = False
    pieces, count = ndimage.label((shut | small[holes]) & ~seen)
    beside = np.zeros(count + 1, bool)
    beside[pieces[ndimage.binary_dilation(np.pad(hair[box], margin), _EVERY_NEIGHBOUR)]] = True
    beside[0] = False
    gaps[box] = beside[pieces][margin:-margin, margin:-margin]
    return gaps


def loose_bits(head: Mask) -> Mask:
    """Find small parts of the head that would hang in the air once a reader has eroded its mask. [S, S] -> [S, S]"""
    core = ndimage.binary_erosion(head, _ERODED, border_value=1)
    parts, count = ndimage.label(core, _EVERY_NEIGHBOUR)
    if count < 2:
        return np.zeros_like(head)
    area = np.bincount(parts.ravel())
    area[0] = 0
    dropped = area < _LOOSE * area.max()
    dropped[0] = False
    kept = ndimage.binary_dilation(core & ~dropped[parts], _ERODED)
    return ndimage.binary_dilation(dropped[parts], _ERODED) & head & ~kept


def islands(hidden: Mask) -> Mask:
    """Find small connected parts, such as the tip of an ear that the hair should cover. [S, S] -> [S, S]"""
    if not hidden.any():
        return np.zeros_like(hidden)
    parts, _ = ndimage.label(hidden)
    small = np.bincount(parts.ravel()) <= _ISLAND * hidden.size
    small[0] = False
    return small[parts]


def mend_eyes(canvas: NDArray[np.float32], label: NDArray[np.int8], eyes: tuple[int, ...]) -> None:
    """Give every eye one connected opening without holes, in place.

    Spots of an eyeball beside its opening become skin, spots of skin inside it eyeball; both take their nearest neighbour's
    colour.

    Args:
        canvas: Colours. [S, S, 3]
        label: What is seen. [S, S]
        eyes: Labels of the eyeballs.
    """
    for kind in eyes:
        eye = label == kind
        if not eye.any():
            continue
        box = _box(eye, 3, len(label))
        here = eye[box]
        parts, count = ndimage.label(here, _EVERY_NEIGHBOUR)
        opening = parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count > 1 else here
        _repaint(canvas[box], label[box], here & ~opening, ~here & (label[box] >= 0))
        _repaint(canvas[box], label[box], ndimage.binary_fill_holes(opening) & ~opening, opening)


def _repaint(canvas: NDArray[np.float32], label: NDArray[np.int8], where: Mask, source: Mask) -> None:
    """Give pixels the colour and label of the nearest one of `source`, in place."""
    if not where.any() or not source.any():
        return
    rows, columns = ndimage.distance_transform_edt(~source, return_distances=False, return_indices=True)
    canvas[where] = canvas[rows[where], columns[where]]
    label[where] = label[rows[where], columns[where]]


def _box(mask: Mask, margin: int, side: int) -> Box:
    """Smallest rectangle around a mask, widened by a margin as far as the image goes."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    return (
        slice(max(0, rows[0] - margin), min(side, rows[-1] + 1 + margin)),
        slice(max(0, columns[0] - margin), min(side, columns[-1] + 1 + margin)),
    )

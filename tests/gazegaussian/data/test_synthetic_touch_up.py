"""No gaps at the hair, no loose bits, no specks at the lids: what is mended, and that drawn heads need no more mending."""

import numpy as np
import pytest
from scipy import ndimage

from gazegaussian.data.pixels import erode
from gazegaussian.data.synthetic import shading
from gazegaussian.data.synthetic.base_mesh import LEFT_EYE, RIGHT_EYE, SKIN
from gazegaussian.data.synthetic.generator import SyntheticSettings, render_frames
from gazegaussian.data.synthetic.touch_up import GAP, hair_gaps, islands, loose_bits, mend_eyes

SIZE = 128
# Person and camera: with version 2 of the generator their images had holes, rectangles or loose bits at the hair.
FAULTY = [(0, 0), (1, 5), (25, 17), (36, 0), (38, 10)]
EVERY_NEIGHBOUR = np.ones((3, 3))


def disk(side, radius, x=0.0, y=0.0):
    rows, columns = np.mgrid[:side, :side] - side / 2
    return np.hypot(columns - x, rows - y) <= radius


def test_a_narrow_gap_at_the_hair_is_shut_and_a_wide_one_is_not():
    for width, shut in ((2, True), (12, False)):  # of 128 px: the limit is 3.8
        head, hair = np.zeros((2, SIZE, SIZE), bool)
        head[20:100, 30:80] = True
        hair[20:100, 80 + width : 90 + width] = True
        gaps = hair_gaps(head | hair, hair)
        assert gaps[60, 80 : 80 + width].all() == shut, width
        assert gaps[60, 80 : 80 + width].any() == shut, width
        assert not (gaps & (head | hair)).any()
    assert not hair_gaps(head | hair, np.zeros_like(hair)).any()  # the gap beside an ear of somebody bald


def test_a_small_hole_in_the_hair_is_filled_and_a_large_one_is_not():
    for radius, filled in ((3, True), (14, False)):
        hair = disk(SIZE, 50) & ~disk(SIZE, radius)
        assert hair_gaps(hair, hair)[SIZE // 2, SIZE // 2] == filled


def test_what_hangs_by_a_thread_is_cut_off():
    head = disk(SIZE, 40)
    bit = np.zeros_like(head)
    bit[60:66, 112:118] = True
    thread = np.zeros_like(head)
    thread[62:64, 100:114] = True
    loose = loose_bits(head | bit | thread)
    assert loose[bit].all()
    assert not loose[disk(SIZE, 38)].any()
    assert not loose_bits(head).any()
    ear = disk(SIZE, 8, x=42)
    assert not loose_bits(head | ear).any()


def test_only_small_parts_are_islands():
    assert islands(disk(SIZE, 2)).sum() == disk(SIZE, 2).sum()
    assert not islands(disk(SIZE, 20)).any()


def test_an_eye_is_one_opening_without_holes():
    label = np.full((64, 64), SKIN, np.int8)
    opening = disk(64, 10)
    label[opening] = LEFT_EYE
    label[15:17, 40:42] = LEFT_EYE  # through the lid
    label[30:32, 30:33] = SKIN  # in the middle of the eye
    canvas = np.where((label == LEFT_EYE)[..., None], np.float32([0.9, 0.9, 0.9]), np.float32([0.6, 0.4, 0.3]))
    mend_eyes(canvas, label, (LEFT_EYE, RIGHT_EYE))
    assert ((label == LEFT_EYE) == opening).all()
    assert np.allclose(canvas[opening], 0.9)
    assert np.allclose(canvas[~opening], [0.6, 0.4, 0.3])


@pytest.fixture(scope="module")
def drawn():
    """Images, head masks and the labels of their samples, of people and cameras that were faulty."""
    labels = []
    finish = shading._finish

    def store_settings(canvas, label, size, shadow):
        labels.append(label.reshape(2 * size, 2 * size).copy())
        return finish(canvas, label, size, shadow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shading, "_finish", store_settings)
        views = [
            next(iter(render_frames(SyntheticSettings(1, SIZE, 0, frames=1), person, lambda camera=camera: [camera])))
            for person, camera in FAULTY
        ]
    return [(view["face_patch"][0], view["head_mask"][0], label) for view, label in zip(views, labels, strict=True)]


def enclosed(mask):
    """Sizes of the background's parts that the mask encloses."""
    parts, count = ndimage.label(~mask)
    outside = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return [int(sizes[part]) for part in range(1, count + 1) if part not in outside]


def test_drawn_heads_are_one_piece_without_holes_as_readers_see_them(drawn):
    for _, head, _ in drawn:
        seen = erode(head) > 0
        assert ndimage.label(seen, EVERY_NEIGHBOUR)[1] == 1
        assert not enclosed(seen)


def test_no_gap_at_the_hair_is_left(drawn):
    for image, head, label in drawn:
        hair = (label == shading.HAIR).reshape(SIZE, 2, SIZE, 2).any((1, 3))
        assert not hair_gaps(head > 0, hair & (head > 0)).any()
        inside = ndimage.binary_erosion(head > 0, np.ones((5, 5)))
        assert not (image[inside] == 255).all(-1).any()
    assert GAP * SIZE < 4

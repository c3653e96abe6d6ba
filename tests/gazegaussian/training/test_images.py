"""Grids of images and the labels above them."""

import numpy as np
import torch
from PIL import Image
from synthetic_support import gaze_run, gaze_stage, heads

from benchmarks.quality.gaze_agreement import COMMANDS
from gazegaussian.training.gaze_gaussian_stage import validation_pairs
from gazegaussian.utils.image_grid import captioned, image_grid, labelled_rows, text_band, with_header
from helpers.inference.strip import redirection_strip

TILE = 128


def inked(band, columns):
    """Columns of a header that hold a label, read from the pixels."""
    return [bool((tile < 0.5).any()) for tile in band.chunk(columns, dim=-1)]


def test_labels_stand_above_their_columns_and_the_grid_stays():
    grid = image_grid([torch.rand(3, 3, TILE, TILE), torch.rand(3, 3, TILE, TILE)])
    image = with_header(grid, ["source", "", "yaw 20°, pitch 0°"])
    band = image.shape[1] - grid.shape[1]
    assert torch.equal(image[:, band:], grid)
    assert inked(image[:, :band], 3) == [True, False, True]
    edges = [edge for tile in image[:, :band].chunk(3, dim=-1) for edge in (tile[..., 0], tile[..., -1])]
    assert all((edge == 1).all() for edge in edges), "a label runs into its neighbour"


def test_every_row_stands_under_its_label_and_stays():
    rows = {label: torch.rand(2, 3, TILE, TILE) for label in ("target", "rendered", "silhouette")}
    for part, row in zip(labelled_rows(rows).chunk(3, dim=-2), rows.values(), strict=True):
        grid = image_grid([row])
        band, image = part.split([part.shape[1] - grid.shape[1], grid.shape[1]], dim=-2)
        assert torch.equal(image, grid)
        assert inked(band, 1) == [True]


def test_letters_shrink_until_the_longest_caption_fits():
    grid = image_grid([torch.zeros(2, 3, 2 * TILE, 2 * TILE)])
    heights = []
    for long in ("x", "trial 17 (pruned): val_loss 0.20", "trial 17 (pruned): val_loss 0.20, gaze error 5.1°"):
        band = with_header(grid, [long, "X"])[:, : -grid.shape[1]]
        first, second = band.chunk(2, dim=-1)
        assert inked(band, 2) == [True, True]
        assert (first[..., [0, -1]] == 1).all(), "it runs out of its column"
        heights.append((second < 0.5).any(-1).any(0).sum().item())
    assert heights[0] > heights[1] > heights[2], "all captions have the size that the longest needs"


def test_a_label_that_fits_at_no_size_is_broken_into_lines():
    narrow = torch.zeros(3, 8, 64)
    one, long = (text_band(narrow, [label], 64) for label in ("short", "a label of more than one line of letters"))
    assert long.shape[1] > 2 * one.shape[1]
    assert (long[..., [0, -1]] == 1).all(), "it runs out of its column"
    assert [bool((line < 0.5).any()) for line in long.chunk(3, dim=-2)] == [True] * 3


def test_a_redirection_preview_shows_what_was_given_wanted_and_rendered(monkeypatch):
    monkeypatch.setattr("gazegaussian.training.gaze_gaussian_stage.labelled_rows", dict)
    rows = gaze_stage(gaze_run(preview_images=2)).preview()
    pairs = validation_pairs(heads()[1], 2)
    for word, images in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        (row,) = [row for label, row in rows.items() if label.startswith(word)]
        assert torch.equal(row, heads()[1].batch(list(images)).image)
    assert {row.shape for row in rows.values()} == {row.shape}
    assert gaze_stage(gaze_run(preview_images=0)).preview() is None


def test_pictures_of_other_heights_share_a_row():
    row = np.asarray(captioned([Image.new("RGB", (90, 20), "red"), Image.new("RGB", (90, 50), "blue")], ["a", "b"]))
    assert row.shape[1] == 2 * (90 + 2)
    top = row.shape[0] - 52
    assert (row[top : top + 20, :90] == (255, 0, 0)).all()
    assert (row[top + 20 :, :90] == 255).all()
    assert (row[top : top + 50, 92:182] == (0, 0, 255)).all()


def test_a_strip_begins_with_the_source_and_labels_every_gaze():
    class Person:
        image = torch.full((1, 3, TILE, TILE), 0.25)

    class Renderer:
        def image(self, batch, gaze):
            return torch.full((len(gaze), 3, TILE, TILE), 0.75)

    image = redirection_strip(Renderer(), [Person(), Person()], COMMANDS)
    columns = 1 + len(COMMANDS)
    assert image.shape[-1] == columns * (TILE + 2)
    assert (image[:, -TILE // 2, :TILE] == 0.25).all()
    assert (image[:, -TILE // 2, TILE + 2 : 2 * TILE] == 0.75).all()
    assert all(inked(image[:, : image.shape[1] - 2 * (TILE + 2)], columns))

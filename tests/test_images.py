"""Grids of images and the labels above them."""

import torch

from benchmarks.gaze_agreement import COMMANDS
from gazegaussian.training.images import image_grid, with_header
from helpers.redirection import redirection_strip

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


def test_a_strip_begins_with_the_source_and_labels_every_gaze():
    class Person:
        image = torch.full((1, 3, TILE, TILE), 0.25)

    class Painter:
        def image(self, batch, gaze):
            return torch.full((len(gaze), 3, TILE, TILE), 0.75)

    image = redirection_strip(Painter(), [Person(), Person()], COMMANDS)
    columns = 1 + len(COMMANDS)
    assert image.shape[-1] == columns * (TILE + 2)
    assert (image[:, -TILE // 2, :TILE] == 0.25).all()
    assert (image[:, -TILE // 2, TILE + 2 : 2 * TILE] == 0.75).all()
    assert all(inked(image[:, : image.shape[1] - 2 * (TILE + 2)], columns))

"""The picture of an evaluation: source, target and render of some pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.evaluation.results import Evaluation
from gazegaussian.utils.image_grid import image_grid, text_band, with_header

COLUMNS = ("source", "target", "render")


def picture(evaluation: Evaluation) -> Tensor:
    """Draw a row per pair over its caption. [3, H, W]."""
    rows = []
    for images, caption in evaluation.pictures:
        row = image_grid([images])
        rows += [row, text_band(row, [caption], images.shape[-1])]
    return with_header(torch.cat(rows, dim=-2), COLUMNS)

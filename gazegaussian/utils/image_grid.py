"""Which validation images are looked at, and grids of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.own_output import MARK

GAP = 2  # white pixels between tiles
# pixels of letters: those that can be read, those that need not grow with the picture
SMALLEST = 8
LARGEST = 20


def spread(count: int, wanted: int | None) -> list[int]:
    """Pick `wanted` rows of `count`, evenly spread; all of them when `wanted` is None or more."""
    wanted = min(count, wanted or count)
    return [i * count // wanted for i in range(wanted)]


def image_grid(rows: Sequence[Tensor]) -> Tensor:
    """Arrange batches as rows of a grid.

    Args:
        rows: Batches of equally many equally large images in [0, 1]. Each [B, 3, H, W]

    Returns:
        One image. [3, rows * (H + 2), B * (W + 2)]
    """
    padded = [torch.nn.functional.pad(row.detach().float(), (0, GAP, 0, GAP), value=1.0) for row in rows]
    return torch.cat([torch.cat(list(row), dim=-1) for row in padded], dim=-2).clamp(0, 1)


def with_header(grid: Tensor, labels: Sequence[str]) -> Tensor:
    """Write a label above every column of a grid.

    Args:
        grid: As `image_grid` makes it, in [0, 1]. [3, H, W]
        labels: One per column.

    Returns:
        The grid under a white band with the labels. [3, H + band, W]
    """
    tile = grid.shape[-1] // len(labels)
    return torch.cat([text_band(grid, labels, tile), grid], dim=-2)


def labelled_rows(rows: Mapping[str, Tensor]) -> Tensor:
    """Arrange batches as rows of a grid, each under its label.

    Args:
        rows: By label, batches of equally many equally large images in [0, 1]. Each [B, 3, H, W]

    Returns:
        One image. [3, rows * (band + H + 2), B * (W + 2)]
    """
    parts = []
    for label, row in rows.items():
        grid = image_grid([row])
        parts += [text_band(grid, [label], row.shape[-1]), grid]
    return torch.cat(parts, dim=-2)


def text_band(like: Tensor, labels: Sequence[str], tile: int) -> Tensor:
    """Draw labels side by side on white.

    Args:
        like: An image as wide as the band. [3, H, W]
        labels: One per column; letters shrink until the longest fits, and what does not fit then is broken into lines.
        tile: Width of an image of the grid, which sets the size of the letters.

    Returns:
        [3, band, W]
    """
    width = like.shape[-1]
    column = like.shape[-1] / len(labels)
    sizes = range(min(max(SMALLEST, tile // 12), LARGEST), SMALLEST - 1, -1)
    for size in sizes:  # the largest that fits; where none does, the smallest
        font = ImageFont.load_default(size=size)
        if max(map(font.getlength, labels)) < column - GAP:
            break
    fitting = max(1, int(column / font.getlength("m")))  # letters; m is the widest
    broken = [
        [label] if font.getlength(label) < column - GAP else textwrap.wrap(label, fitting) or [""] for label in labels
    ]
    lines = max(map(len, broken))
    band = Image.new("L", (width, round((0.25 + 1.5 * lines) * size)), 255)
    draw = ImageDraw.Draw(band)
    for position, label in enumerate(broken):
        draw.text(
            ((position + 0.5) * column, band.height / 2),
            "\n".join(label),
            fill=0,
            font=font,
            anchor="mm",
            align="center",
        )
    return torch.from_numpy(np.asarray(band, np.float32) / 255).to(like).expand(3, -1, -1)


def captioned(images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Put equally wide pictures beside each other, each under its caption; white fills up below lower ones."""
    tallest = max(image.height for image in images)
    row = np.full((len(images), tallest, images[0].width, 3), 255, np.uint8)
    for slot, image in zip(row, images, strict=True):
        slot[: image.height] = np.asarray(image.convert("RGB"))
    grid = image_grid([torch.from_numpy(row).permute(0, 3, 1, 2).float() / 255])
    return Image.fromarray(to_pixels(with_header(grid, captions)))


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Bytes of an image in [0, 1]. [3, H, W] -> [H, W, 3]."""
    return (image * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image [3, H, W] in [0, 1] as PNG, atomically."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    mark = PngInfo()
    mark.add_text("Software", MARK)
    with atomic_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=mark)

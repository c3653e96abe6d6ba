"""Small pictures drawn without a browser, so that every trial can leave them: a learning curve, captioned rows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gazegaussian.errors import first_line
from gazegaussian.utils.image_grid import captioned

LARGEST_PICTURE = 100_000_000  # pixels; 5,000 images of a trial have a tenth
INK = "#222222"
GREY = "#666666"
LIGHT = "#dddddd"
CURVE, BEST = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion; the best epoch is ringed and named
SIZE = (560, 420)  # the dashboard shows it 200 pixels wide, and whole on a click
# pixels around the plot
_LEFT = 90
_RIGHT = 20
_TOP = 74
_BOTTOM = 64
_TICKS = 5


def draw_curve(values: Sequence[float], best: int, metric: str, title: str) -> Image.Image:
    """Draw a metric over the epochs.

    Args:
        values: After each epoch, finite, at least one.
        best: Position of the best one.
        metric: Name, with its unit.
        title: Above the plot.
    """
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    small = ImageFont.load_default(size=19)
    low = min(values)
    high = max(values)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    low = low - margin
    high = high + margin
    width = SIZE[0] - _LEFT - _RIGHT
    height = SIZE[1] - _TOP - _BOTTOM
    last = max(1, len(values) - 1)

    def pixel(epoch: float, value: float) -> tuple[float, float]:
        return _LEFT + width * epoch / last, _TOP + height * (high - value) / (high - low)

    for step in range(_TICKS):
        value = low + (high - low) * step / (_TICKS - 1)
        y = pixel(0, value)[1]
        draw.line([(_LEFT, y), (_LEFT + width, y)], fill=LIGHT)
        draw.text((_LEFT - 8, y), f"{value:.4g}", fill=GREY, font=small, anchor="rm")
    stride = max(1, -(-len(values) // 10))  # so many numbers fit under the axis
    for epoch in range(0, len(values), stride):
        draw.text((pixel(epoch, 0)[0], SIZE[1] - _BOTTOM + 8), str(epoch + 1), fill=GREY, font=small, anchor="mt")
    draw.text((_LEFT + width / 2, SIZE[1] - 8), "Epoch", fill=INK, font=small, anchor="mb")
    draw.text((_LEFT, 8), f"{title}: {metric}", fill=INK, font=ImageFont.load_default(size=22))
    draw.text((_LEFT, 38), f"best {values[best]:.5g} (epoch {best + 1}, ringed)", fill=INK, font=small)
    points = [pixel(epoch, value) for epoch, value in enumerate(values)]
    if len(points) > 1:
        draw.line(points, fill=CURVE, width=4, joint="curve")
    for x, y in points:
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=CURVE)
    x, y = points[best]
    draw.ellipse([x - 9, y - 9, x + 9, y + 9], outline=BEST, width=4)
    return image


def jpeg_bytes(image: Image.Image, quality: int = 90) -> bytes:
    """An image as a JPEG file: of faces a fifth of a PNG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="JPEG", quality=quality)
    return stream.getvalue()


def read_png(path: Path) -> Image.Image:
    """Read a PNG file; one of another kind under that name could start another program, such as Ghostscript.

    Raises:
        OSError: No PNG, damaged, or too large.
    """
    try:
        with Image.open(path, formats=("PNG",)) as file:
            if file.width * file.height > LARGEST_PICTURE:
                raise OSError(f"{path} has {file.width} x {file.height} pixels, more than any picture of a training")
            return file.convert("RGB")
    except OSError:
        raise
    # What bytes that mean nothing raise in its parser.
    except (SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise OSError(f"{path} is no readable PNG ({first_line(error)})") from error


def captioned_row(pictures: Sequence[tuple[Path, str]], width: int) -> Image.Image:
    """Put pictures side by side, each with a caption above.

    Args:
        pictures: Files and captions, from left to right.
        width: Of each, pixels.
    """
    drawn = []
    for path, _ in pictures:
        picture = read_png(path)
        height = round(picture.height * width / picture.width)
        drawn.append(picture.resize((width, height), Image.Resampling.LANCZOS))
    return captioned(drawn, [caption for _, caption in pictures])

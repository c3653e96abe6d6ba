"""Figures in cells: plotly's own form, a PNG beside it for pages that run no scripts (GitHub's), and a line of text.

One browser draws the PNGs of a kernel, since it takes seconds to start. Where it is not there or too slow, they are left out.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import time
import warnings
from typing import Any

import kaleido
import plotly.graph_objects as go
from IPython.display import display
from PIL import Image

from gazegaussian.errors import first_line
from helpers.reporting.figures import find_browser

logger = logging.getLogger(__name__)

# for the browser, and for each figure on average
START_SECONDS = 12.0
FIGURE_SECONDS = 3.0
_GIVE_UP_SECONDS = 20.0  # for one figure
PNG_WIDTH = 900  # pixels, of a figure that fits its cell
COLORS = 128  # of a PNG: a third of its bytes


class _Painter:
    """Draws PNGs as long as that is quick."""

    def __init__(self) -> None:
        self.figures = 0
        self.seconds = 0.0
        self.broken = False

    def png(self, figure: go.Figure) -> bytes | None:
        """Draw a figure in the height of its layout; None where that cannot be done in time."""
        browser = None if self.broken else find_browser()
        if browser is None:
            return None
        os.environ.setdefault("BROWSER_PATH", browser)
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # plotly's options for a browser per figure, which it then ignores
                kaleido.start_sync_server(n=1, timeout=_GIVE_UP_SECONDS, silence_warnings=True)
                layout = figure.layout
                drawn: bytes = figure.to_image("png", width=layout.width or PNG_WIDTH, height=layout.height)
        except Exception as error:  # a browser fails in many ways, and a picture is no reason to stop a notebook
            self._give_up(first_line(error))
            return None
        self.figures += 1
        self.seconds += time.monotonic() - started
        if self.seconds > START_SECONDS + FIGURE_SECONDS * self.figures:
            self._give_up(f"{self.figures} figures took {self.seconds:.0f} s")
        return _small(drawn)

    def _give_up(self, why: str) -> None:
        self.broken = True
        logger.warning("figures come without PNG from here on: %s", why)


_painter = _Painter()


def _small(png: bytes) -> bytes:
    """The same picture with fewer colours, where that saves bytes: notebooks are saved with it."""
    stream = io.BytesIO()
    try:
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE).save(stream, format="PNG", optimize=True)
    except OSError:
        return png
    return min(png, stream.getvalue(), key=len)


def show_figure(figure: go.Figure) -> None:
    """Display a figure in a cell."""
    display(bundle(figure), raw=True)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """Forms of a figure by MIME type: plotly's, PNG where a browser is there, and its title as text."""
    title = re.sub(r"<[^>]+>", " ", figure.layout.title.text or "figure")
    forms: dict[str, Any] = {**figure._repr_mimebundle_(), "text/plain": f"Figure: {' '.join(title.split())}"}
    png = _painter.png(figure)
    if png is not None:
        forms["image/png"] = base64.b64encode(png).decode()
    return forms

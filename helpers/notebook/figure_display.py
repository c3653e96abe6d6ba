"""Figures in cells: the form that the front end draws, a PNG beside it for pages that run no scripts (GitHub's), and a line of text.

One browser draws the PNGs of a kernel, since it takes seconds to start. Where it is not there or too slow, they are left out.
"""

from __future__ import annotations

import base64
import io
import logging
import re
import time
from typing import Any

import plotly.graph_objects as go
import plotly.io
from IPython.display import display
from PIL import Image

from gazegaussian.errors import first_line
from helpers.reporting.pngs import draw_png, find_browser, start_browser
from helpers.utils.runtime import loads_scripts_per_output

logger = logging.getLogger(__name__)

# for the browser, and for each figure on average
START_SECONDS = 12.0
FIGURE_SECONDS = 3.0
_GIVE_UP_SECONDS = 20.0  # for one figure
PNG_WIDTH = 900  # pixels, of a figure that fits its cell
COLORS = 128  # of a PNG: a third of its bytes


class _Renderer:
    """Draws PNGs as long as that is quick."""

    def __init__(self) -> None:
        self.figures = 0
        self.seconds = 0.0
        self.broken = False

    def prepare(self) -> None:
        """Start the browser, which takes seconds, and return at once."""
        if not self.broken and find_browser() is not None:
            start_browser(_GIVE_UP_SECONDS)

    def png(self, figure: go.Figure) -> bytes | None:
        """Draw a figure in the height of its layout; None where that cannot be done in time."""
        if self.broken or find_browser() is None:
            return None
        started = time.monotonic()
        try:
            drawn = draw_png(figure, PNG_WIDTH, _GIVE_UP_SECONDS)
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


_renderer = _Renderer()


def _small(png: bytes) -> bytes:
    """The same picture with fewer colours, where that saves bytes: notebooks are saved with it."""
    stream = io.BytesIO()
    try:
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE).save(stream, format="PNG", optimize=True)
    except OSError:
        return png
    return min(png, stream.getvalue(), key=len)


def prepare_figures() -> None:
    """Make ready for the next figure what takes seconds, beside what this process does meanwhile."""
    _renderer.prepare()


def show_figure(figure: go.Figure) -> None:
    """Display a figure in a cell."""
    display(bundle(figure), raw=True)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """Forms of a figure by MIME type: the interactive one, PNG where a browser is there, and its title as text."""
    title = re.sub(r"<[^>]+>", " ", figure.layout.title.text or "figure")
    forms: dict[str, Any] = {**interactive(figure), "text/plain": f"Figure: {' '.join(title.split())}"}
    png = _renderer.png(figure)
    if png is not None:
        forms["image/png"] = base64.b64encode(png).decode()
    return forms


def interactive(figure: go.Figure) -> dict[str, Any]:
    """The form that the front end makes interactive, by MIME type; plotly.js itself (4.5 MB) is in neither.

    Colab and Kaggle show every output as a page of its own, which loads plotly.js from its public address; the others have it.
    """
    if loads_scripts_per_output():
        return {"text/html": figure.to_html(full_html=False, include_plotlyjs="cdn", default_height="525px")}
    forms: dict[str, Any] = plotly.io.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    return forms

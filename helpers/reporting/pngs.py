"""Draws figures as PNG in a browser, through kaleido's own functions.

Plotly's functions for it need a plotly that fits kaleido, which Colab's plotly 5 does not.
"""

from __future__ import annotations

import importlib
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from choreographer.browsers.chromium import Chromium

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """Path of a browser that can draw PNGs: BROWSER_PATH, a known one on the PATH, or where such programs are installed."""
    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    installed = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return installed or Chromium.find_browser(skip_local=False)  # macOS and Windows have it on no PATH


def draw_png(figure: go.Figure, width: int, timeout: float) -> bytes:
    """Draw a figure in the size of its layout, in a browser that stays for the next one.

    Args:
        figure: What to draw.
        width: Pixels, where the layout names none.
        timeout: Seconds that the browser may take for one figure; the first call fixes it.

    Raises:
        Exception: The browser cannot be started, fails or takes too long; kaleido's errors share no class.
    """
    start_browser(timeout)
    png: bytes = _kaleido().calc_fig_sync(figure, {"format": "png", "width": figure.layout.width or width})
    return png


def start_browser(timeout: float) -> None:
    """Start the browser of `draw_png` and return at once; without effect where it was started before.

    Args:
        timeout: See `draw_png`.
    """
    _kaleido().start_sync_server(n=1, timeout=timeout, silence_warnings=True)


def write_pngs(figures: Mapping[Path, go.Figure], width: int, scale: float) -> None:
    """Write figures to files in the sizes of their layouts; one browser draws all, since it takes seconds to start.

    Args:
        figures: By the file to write.
        width: Pixels, where a layout names none.
        scale: Pixels of the file per pixel of the layout.

    Raises:
        Exception: See `draw_png`; some files may be there.
    """
    jobs = []
    for path, figure in figures.items():
        options = {"format": "png", "scale": scale, "width": figure.layout.width or width}
        jobs.append({"fig": figure, "path": str(path), "opts": options})
    _kaleido().write_fig_from_object_sync(jobs, cancel_on_error=True)


def _kaleido() -> Any:
    """Import kaleido, which warns of a plotly whose own functions do not fit it, and point it to the browser."""
    browser = find_browser()
    if browser is not None:
        os.environ.setdefault("BROWSER_PATH", browser)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("kaleido")

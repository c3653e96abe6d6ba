"""The layout that all figures share: as wide as where they are shown, title and legend above the plot, nothing clipped.

A figure has a height and no width: cells and pages stretch it, files take `FILE_WIDTH`. It is laid out for `NARROWEST` pixels on.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from helpers.reporting.palette import PALETTE

# pixels
NARROWEST = 700
FILE_WIDTH = 1000
HEIGHT = 480
SIDE = 70
# pixels from the top: the title, each line of the subtitle, each row of the legend
HEAD = 46
NOTE_LINE = 16
LEGEND_ROW = 24
BELOW_TITLE = 14
SYMBOL = 48  # pixels that an entry of the legend takes besides its text
LETTER = 7.0  # pixels of a letter of 12 pixels' height
TITLE_LETTERS = 72  # in the line, of 17 pixels' height
NOTE_LETTERS = 110  # in a line, of 12 pixels' height
BAR_LETTERS = 56  # of the title beside a colour bar: of two lines the second lies over the ticks


def fit(figure: go.Figure, title: str, study: str, notes: Sequence[str] = ()) -> go.Figure:
    """Lay a figure out for a cell or page of any width from `NARROWEST` pixels on.

    Args:
        figure: Changed in place. Its height stays; a width is taken away.
        title: Above it, in a few words.
        study: Name of the study, beside the title, or below it where the line is full.
        notes: Sentences below the title, in small letters.

    Returns:
        The figure.
    """
    heading = f"{title} - {study}"
    if len(heading) > TITLE_LETTERS:
        heading = title
        notes = [f"Study {study}", *notes]
    small = [line for note in notes for line in textwrap.wrap(note, NOTE_LETTERS, break_on_hyphens=False)]
    rows = _legend_rows(figure)
    below = BELOW_TITLE if rows == 0 else 0
    above = HEAD + NOTE_LINE * len(small) + LEGEND_ROW * rows + below
    drawn = figure.layout.height or HEIGHT
    figure.update_layout(
        template="plotly_white",
        colorway=PALETTE,
        font_size=13,
        autosize=True,
        width=None,
        height=drawn,
        title={
            "text": heading,
            "font": {"size": 17},
            "subtitle": {"text": "<br>".join(small), "font": {"size": 12}},
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 14, "l": 12},
        },
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "font": {"size": 12},
            "title": {"text": ""},
        },
        margin={"l": SIDE, "r": 30, "t": above, "b": 60},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    for bar in _color_bars(figure):
        named = cut(bar.title.text or "", BAR_LETTERS)
        bar.update(thickness=16, tickfont_size=11, title={"text": named, "side": "right", "font": {"size": 12}})
    return figure


def cut(text: str, longest: int) -> str:
    """Shorten a label to so many letters, the last of which then tells so."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def legend_entries(figure: go.Figure) -> list[str]:
    """Names in the legend; none where it is not shown."""
    named = list(dict.fromkeys(trace.name for trace in figure.data if trace.name and trace.showlegend is not False))
    wanted = figure.layout.showlegend
    shown = len(named) > 1 or any(trace.showlegend for trace in figure.data) if wanted is None else wanted
    return named if shown else []


def _legend_rows(figure: go.Figure) -> int:
    """Rows of the legend in the narrowest figure: plotly gives every entry the width of the longest one."""
    entries = legend_entries(figure)
    if not entries:
        return 0
    widest = SYMBOL + LETTER * max(len(entry) for entry in entries)
    each = max(1, math.floor((NARROWEST - 2 * SIDE) / widest))
    return math.ceil(len(entries) / each)


def _color_bars(figure: go.Figure) -> list[Any]:
    """Colour bars of traces and of their marks."""
    bars = [trace.colorbar for trace in figure.data if "colorbar" in trace]
    return bars + [t.marker.colorbar for t in figure.data if "marker" in t and getattr(t.marker, "showscale", False)]

"""The figure of the importances: shares with intervals, beside what a parameter without effect reaches."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from helpers.analysis.importance import Importance, Importances
from helpers.reporting.palette import PALETTE

# pixels: a share, title with caption and legend, axis
ROW = 34
ABOVE = 140
AXIS = 60
GREY = "#777777"
PARAMETERS = "a parameter by itself, 90% interval"
OTHERS = "pairs of parameters, and the rest"
UNTOLD = "estimates that mean nothing yet, 90% interval"
LEVEL = "reached by a parameter without effect (1 in 20)"


def importance_figure(importances: Importances) -> go.Figure:
    """Draw shares with intervals: bars where the trials tell something, hollow grey marks where they do not.

    Args:
        importances: Not empty.
    """
    others = [row for row in (importances.pairs, importances.rest) if row is not None]
    figure = go.Figure()
    if importances.telling:
        title = "Hyperparameter importances"
        figure.add_trace(_bars(importances.parameters, PARAMETERS, PALETTE[0]))
        figure.add_trace(_bars(others, OTHERS, PALETTE[4]))
    else:
        title = "Hyperparameter importances: the trials do not tell"
        figure.add_trace(_marks([*importances.parameters, *others], UNTOLD))
    names = [row.parameter for row in (*importances.parameters, *others)]
    figure.add_trace(
        go.Scatter(
            x=[importances.level, importances.level],
            y=[names[0], names[-1]],
            mode="lines",
            line={"color": PALETTE[3], "dash": "dot", "width": 2},
            name=LEVEL,
            hovertemplate=f"{LEVEL}: {importances.level:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=f"share of the variance of {importances.label}", range=[0, 1.02], tickformat=".0%")
    # The first parameter stands at the top.
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], ticksuffix=" ")
    return figure.update_layout(
        title={"text": title, "subtitle": {"text": importances.statement}},
        bargap=0.35,
        barmode="overlay",
        height=ABOVE + AXIS + ROW * len(names),
    )


def _intervals(rows: Sequence[Importance], color: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [row.high - row.value for row in rows],
        "arrayminus": [row.value - row.low for row in rows],
        "color": color,
        "thickness": 1.5,
    }


def _hover(rows: Sequence[Importance]) -> list[str]:
    return [f"{row.parameter}: {row.value:.2f}, 90% interval {row.low:.2f} to {row.high:.2f}" for row in rows]


def _bars(rows: Sequence[Importance], name: str, color: str) -> go.Bar:
    return go.Bar(
        x=[row.value for row in rows],
        y=[row.parameter for row in rows],
        orientation="h",
        error_x=_intervals(rows, "#333333"),
        marker_color=color,
        name=name,
        hovertext=_hover(rows),
        hoverinfo="text",
    )


def _marks(rows: Sequence[Importance], name: str) -> go.Scatter:
    return go.Scatter(
        x=[row.value for row in rows],
        y=[row.parameter for row in rows],
        mode="markers",
        error_x=_intervals(rows, GREY),
        marker={"symbol": "circle-open", "color": GREY, "size": 9},
        name=name,
        hovertext=_hover(rows),
        hoverinfo="text",
    )

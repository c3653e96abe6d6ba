"""The learning curves of a study while it runs."""

from __future__ import annotations

import plotly.graph_objects as go

from helpers.plots import PALETTE, with_unit
from helpers.running import FINISHED, INTERRUPTED, RUNNING, StudyProgress, TrialProgress

# Colour, dash and width: a state is never told by its colour alone.
STYLES = {
    RUNNING: (PALETTE[2], "solid", 4),
    "complete": (PALETTE[0], "solid", 1.5),
    "pruned": (PALETTE[1], "dash", 1.5),
    "failed": (PALETTE[3], "dot", 1.5),
    INTERRUPTED: (PALETTE[5], "dashdot", 1.5),
}


def live_curves(found: StudyProgress) -> go.Figure | None:
    """Draw the first objective over the epochs, one line per trial.

    Interrupted trials that another one continues are left out: it repeats their curve.

    Returns:
        The figure; None while no epoch is reported (a study with several objectives reports none).
    """
    continued = INTERRUPTED if any(trial.state in (RUNNING, *FINISHED) for trial in found.trials) else ""
    shown = [trial for trial in found.trials if trial.curve and trial.state != continued]
    if not shown:
        return None
    figure = go.Figure()
    named: set[str] = set()
    for trial in shown:
        figure.add_trace(_line(trial, found, trial.state not in named))
        named.add(trial.state)
    few = max(len(trial.curve) for trial in shown) <= 20
    figure.update_layout(
        template="plotly_white",
        title=f"Learning curves - {found.name}",
        xaxis={"title": "Epoch", "tickformat": "d", **({"dtick": 1} if few else {})},
        yaxis_title=with_unit(found.metric),
        font_size=14,
        width=900,
        height=420,
        margin={"l": 70, "r": 40, "t": 60, "b": 60},
        showlegend=True,
        uirevision=found.name,  # zoom and hidden lines outlive an update
    )
    return figure


def _line(trial: TrialProgress, found: StudyProgress, in_legend: bool) -> go.Scatter:
    color, dash, width = STYLES[trial.state]
    best = found.best is not None and found.best[0] == trial.number
    return go.Scatter(
        x=list(range(1, len(trial.curve) + 1)),
        y=list(trial.curve),
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": 3 if best else width},
        marker={"symbol": "star" if best else "circle", "size": 9 if best else 5},
        name=trial.state,
        legendgroup=trial.state,
        showlegend=in_legend,
        hovertemplate=f"trial {trial.number} ({trial.state}{', best' if best else ''})"
        "<br>epoch %{x}: %{y:.5g}<extra></extra>",
    )

"""The learning curves of a study while it runs."""

from __future__ import annotations

import plotly.graph_objects as go

from helpers.reporting.figure_layout import fit
from helpers.reporting.learning_curves import Curve, draw_curves
from helpers.results.trial_states import INTERRUPTED
from helpers.study.progress import COMPLETE, PRUNED, RUNNING, StudyProgress
from helpers.utils.formatting import with_unit


def live_curves(progress: StudyProgress) -> go.Figure | None:
    """Draw the first objective over the epochs, one line per trial.

    Interrupted trials that another one resumes are left out: it repeats their curve.

    Returns:
        The figure; None while no epoch is reported (a study with several objectives reports none).
    """
    hidden = INTERRUPTED.lower() if any(one.state in (RUNNING, COMPLETE, PRUNED) for one in progress.trials) else ""
    shown = [trial for trial in progress.trials if trial.curve and trial.state != hidden]
    if not shown:
        return None
    curves = [Curve(trial.number, trial.state, dict(enumerate(trial.curve))) for trial in shown]
    figure = draw_curves(curves, None if progress.best is None else progress.best[0], progress.baseline)
    values = [value for curve in curves for value in curve.values.values()]
    few = max(len(trial.curve) for trial in shown) <= 20
    figure.update_layout(
        xaxis={"title": "Epoch", "tickformat": "d", **({"dtick": 1} if few else {})},
        yaxis_title=with_unit(progress.metric),
        height=420,
        uirevision=progress.name,  # zoom and hidden lines outlive an update where the front end keeps the figure
    )
    fit(figure, "Learning curves", progress.name)
    if len(set(values)) == 1:  # of one value plotly shows the numbers a unit below and above it
        figure.update_yaxes(range=[values[0] - 0.1 * abs(values[0]), values[0] + 0.1 * abs(values[0])])
    return figure

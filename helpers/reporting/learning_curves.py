"""Learning curves, one line per trial: a state is told by colour, dashes and marks, and a legend names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from optuna.trial import TrialState

from helpers.reporting.palette import PALETTE, STATE_COLORS
from helpers.results.ranking import baseline_trial, best_trial
from helpers.results.trial_states import INTERRUPTED, state_name, successors

BEST = "best"
BASELINE = "baseline"
NAMES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running", "FAIL": "failed", INTERRUPTED: "interrupted"}
# Colour, dash, width and mark, in the order of the legend.
STYLES = {
    BEST: (PALETTE[7], "solid", 3.5, "star"),
    BASELINE: ("#666666", "longdash", 3.5, "diamond-open"),
    "running": (STATE_COLORS["RUNNING"], "solid", 3.5, "diamond"),
    "complete": (STATE_COLORS["COMPLETE"], "solid", 1.5, "circle"),
    "pruned": (STATE_COLORS["PRUNED"], "dash", 1.5, "x"),
    "failed": (STATE_COLORS["FAIL"], "dot", 1.5, "triangle-up"),
    "interrupted": (STATE_COLORS[INTERRUPTED], "dashdot", 1.5, "square"),
}
MOST_MARKS = 10  # on a line


@dataclass(frozen=True)
class Curve:
    """The first objective of a trial after its epochs."""

    trial: int
    state: str  # one of `STYLES`, in a word
    values: Mapping[int, float]  # by epoch, counted from 0


def intermediate_values(study: optuna.Study) -> go.Figure:
    """Draw the curves of a study that reports each epoch, but for interrupted trials: the trial that resumes one repeats its curve."""
    trials = study.get_trials(deepcopy=False)
    resumed = successors(trials)
    best = best_trial(study)
    curves = [
        Curve(trial.number, NAMES[state_name(trial, resumed)], trial.intermediate_values)
        for trial in trials
        if trial.intermediate_values and trial.number not in resumed and trial.state != TrialState.WAITING
    ]
    first = baseline_trial(study)
    return draw_curves(curves, None if best is None else best.number, None if first is None else first.number)


def draw_curves(curves: Collection[Curve], best: int | None, baseline: int | None = None) -> go.Figure:
    """Draw lines over the epochs, counted from 1, the best trial's on top.

    Args:
        curves: None empty.
        best: Number of the best trial, if there is one.
        baseline: Number of the trial with the run configuration's own values, if it is known.
    """
    order = list(STYLES)
    figure = go.Figure()
    special = {baseline: BASELINE, best: BEST}
    styled = [(special.get(curve.trial, curve.state), curve) for curve in curves]
    counts = Counter(style for style, _ in styled)
    own_line = {curve.state for style, curve in styled if style in (BEST, BASELINE)}  # states of best and baseline
    named = set[str]()
    for style, curve in sorted(styled, key=lambda pair: -order.index(pair[0])):
        color, dash, width, mark = STYLES[style]
        epochs = sorted(curve.values)
        alone = style in (BEST, BASELINE)
        also = " (the baseline)" if style == BEST and best == baseline else ""
        other = "other " if style in own_line else ""
        said = f"{curve.state}, {style}{also}" if alone else style
        figure.add_scatter(
            x=[epoch + 1 for epoch in epochs],
            y=[curve.values[epoch] for epoch in epochs],
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": width},
            marker={"symbol": mark, "size": 10 if alone else 6, "maxdisplayed": MOST_MARKS},
            name=f"{style}: trial {curve.trial}{also}" if alone else f"{other}{style} ({counts[style]})",
            legendgroup=style,
            legendrank=order.index(style),
            showlegend=style not in named,
            hovertemplate=f"trial {curve.trial} ({said})<br>epoch %{{x}}: %{{y:.5g}}<extra></extra>",
        )
        named.add(style)
    known = {epoch for curve in curves for epoch in curve.values}
    if len(known) == 1:  # plotly would show an epoch before and one after the only one
        only = known.pop() + 1
        figure.update_xaxes(range=[only - 0.5, only + 0.5])
    return figure.update_layout(showlegend=True)

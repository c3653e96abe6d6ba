"""The Pareto front of a study with two or three objectives: a legend tells its trials from beaten ones and the baseline."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from helpers.reporting.palette import PALETTE
from helpers.results.ranking import baseline_trial, is_feasible, metric_names
from helpers.utils.formatting import with_unit

# Name, colour, mark and size, in the order of the legend; the last are drawn first.
FRONT = ("Pareto front", PALETTE[3], "circle", 10)
BEATEN = ("beaten", PALETTE[4], "circle", 7)
UNMET = ("constraints not met", "#999999", "x", 7)
SPACE_HEIGHT = 620  # pixels, of three objectives


def pareto_figure(study: optuna.Study) -> go.Figure:
    """Draw the complete trials in the space of two or three objectives.

    Args:
        study: A loaded study with as many objectives and a complete trial.
    """
    labels = [with_unit(name) for name in metric_names(study)]
    front = {trial.number for trial in study.best_trials}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    figure = go.Figure()
    for style in (UNMET, BEATEN, FRONT):
        trials = [trial for trial in complete if _style(trial, front) is style]
        if trials:
            _add(figure, trials, labels, style, f"{style[0]} ({len(trials)})")
    first = baseline_trial(study)
    if first is not None:
        _add(figure, [first], labels, ("", "#000000", "diamond-open", 15), f"baseline: trial {first.number}")
    figure.update_layout(showlegend=True, legend_traceorder="reversed")
    if len(labels) == 2:
        return figure.update_layout(xaxis_title=labels[0], yaxis_title=labels[1])
    titles = {
        f"{axis}axis": {"title": {"text": label, "font": {"size": 12}}}
        for axis, label in zip("xyz", labels, strict=True)
    }
    # Far enough away that the titles of the axes are in the picture.
    camera = {"eye": {"x": 1.7, "y": 1.7, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
    return figure.update_layout(scene={**titles, "camera": camera, "aspectmode": "cube"}, height=SPACE_HEIGHT)


def _style(trial: FrozenTrial, front: set[int]) -> tuple[str, str, str, int]:
    if not is_feasible(trial):
        return UNMET
    return FRONT if trial.number in front else BEATEN


def _add(
    figure: go.Figure, trials: list[FrozenTrial], labels: list[str], style: tuple[str, str, str, int], name: str
) -> None:
    """Add one group of trials."""
    _, color, symbol, size = style
    axes = dict(zip("xyz", zip(*(trial.values for trial in trials), strict=True), strict=False))
    kind = go.Scatter if len(labels) == 2 else go.Scatter3d
    said = [
        f"trial {trial.number}<br>"
        + "<br>".join(f"{label}: {v:.5g}" for label, v in zip(labels, trial.values, strict=True))
        for trial in trials
    ]
    figure.add_trace(
        kind(
            **axes,
            mode="markers",
            name=name,
            text=said,
            hovertemplate="%{text}<extra></extra>",
            marker={"color": color, "symbol": symbol, "size": size if len(labels) == 2 else size / 2},
        )
    )

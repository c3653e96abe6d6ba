"""Figures over parameters: Optuna's, laid out so that many parameters, few trials and choices can be read.

They take the first objective. Axes of choices tick the choices, log axes a few round numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from helpers.analysis.comparable_trials import ComparableTrials, as_study, comparable_trials
from helpers.analysis.importance import FEW_TRIALS
from helpers.reporting.figure_layout import HEIGHT, cut
from helpers.reporting.palette import PALETTE
from helpers.results.ranking import baseline_trial, signs

# parameters side by side, and parameters of which every pair is drawn
MOST_AXES = 10
MOST_PAIRED = 4
MOST_POINTS = 5000  # in all panels of ranks together: 1 MB of a notebook's cell
# Slices: panels in a row, then pixels: a row's height, of that its labels, above and below the rows.
COLUMNS = 3
ROW = 250
LABELS = 90
BORDERS = 150
RANKED = 200  # pixels: height of a row of panels of ranks
SLANTED = 560  # pixels: height of parallel coordinates with slanted names
UPRIGHT = 7  # axes of parallel coordinates whose names stand side by side
HINT_TRIALS = 10  # below which figures over parameters say that they are a hint
MOST_DECADES = 3  # between the labels of a log axis
MARGIN = 0.08  # around the panels of ranks, so that neighbours' ticks stay apart
# The dark part of Plasma, good to bad: for colour-blind readers, and every colour stands out from white (3 to 1).
SCALE = sample_colorscale("Plasma", [share / 10 for share in range(7)])
_LONGEST = 19  # characters in a line of an axis title
_SHORT = 12  # in one that stands beside others
_SHORTEST = 8  # in a choice between many axes


def parameter_figures(
    study: optuna.Study, parameters: list[str], metric: str, comparable: ComparableTrials | None = None
) -> tuple[dict[str, Callable[[], go.Figure]], str]:
    """Say which figures can be drawn of which parameters.

    Args:
        study: A loaded study.
        parameters: Most important first; the more a figure grows with them, the fewer it gets.
        metric: Label of the first objective.
        comparable: Trials with one value each; as `comparable_trials` gives them when they are not at hand.

    Returns:
        Makers by name (edf, parallel_coordinate, slice, rank, contour), and a sentence on which trials they show and how
        far to trust few of them; empty with enough complete ones.
    """
    comparable = comparable or comparable_trials(study)
    trials = list(comparable.trials)
    shown = as_study(study, comparable)
    ticks = {name: _ticks(trials, name) for name in parameters[:MOST_AXES]}
    # A single objective has no target, which lets Optuna know its direction.
    target = None if len(study.directions) == 1 else first_value
    makers: dict[str, Callable[[], go.Figure]] = {}
    if any(trial.state == TrialState.COMPLETE for trial in trials):
        makers["edf"] = partial(visualization.plot_edf, study, target=target, target_name=metric)
    value = comparable.label(metric)
    shared: dict[str, Any] = {"target": target, "target_name": value}
    if parameters:
        lines = partial(visualization.plot_parallel_coordinate, shown, params=list(ticks), **shared)
        makers["parallel_coordinate"] = lambda: _coloured(
            _told_apart(lines(), comparable.values),
            [value, *sorted(ticks)],
            signs(study)[0] == 1,
            baseline_trial(study),
        )
        panels = partial(visualization.plot_slice, shown, params=list(ticks), **shared)
        makers["slice"] = lambda: _ticked(_in_rows(panels()), ticks)
    if len(parameters) >= 2 and len(trials) >= FEW_TRIALS:
        paired = _paired(len(parameters), len(trials))
        pairs = partial(visualization.plot_rank, shown, params=parameters[:paired], **shared)
        height = BORDERS + RANKED * paired
        worst_first = np.argsort(-signs(study)[0] * comparable.values, kind="stable")
        order = [trials[row].number for row in worst_first]
        makers["rank"] = lambda: _ticked(
            _best_above(_light(pairs()), order).update_layout(height=height), ticks, MARGIN
        )
        # Over all pairs it would weigh 22 MB at 500 trials.
        pair = partial(visualization.plot_contour, shown, params=parameters[:2], **shared)
        # Bands rather than a gradient: its values can be read, and its PNG has a fifth of the bytes.
        bands = {"contours_coloring": "fill", "selector": {"type": "contour"}}
        makers["contour"] = lambda: _ticked(pair().update_traces(**bands), ticks)
    hints = [] if comparable.epoch is None else [f"From {comparable.sentence}."]
    if len(trials) < HINT_TRIALS:
        few = f"{len(trials)}{' complete' if comparable.epoch is None else ''} trials"
        hints.append(f"{few}: a hint, not a finding; {HINT_TRIALS} would say more.")
    return makers, " ".join(hints)


def first_value(trial: FrozenTrial) -> float:
    """Value of the first objective."""
    return trial.values[0]


def _told_apart(figure: go.Figure, values: np.ndarray) -> go.Figure:
    """Give the numbers along the objective's axis as many digits as tell them apart.

    Args:
        figure: Optuna's parallel coordinates; its first axis runs from the least value to the largest.
        values: Of the trials.
    """
    notes = [note for note in figure.layout.annotations if note.x == 0]
    shown = [float(values.min() + note.y * np.ptp(values)) for note in notes]
    digits = next((n for n in range(3, 10) if len({f"{value:.{n}g}" for value in shown}) == len(shown)), 3)
    for note, value in zip(notes, shown, strict=True):
        note.text = f"{value:.{digits}g}"
    return figure


def _coloured(figure: go.Figure, names: list[str], small_is_good: bool, baseline: FrozenTrial | None) -> go.Figure:
    """Draw the lines of parallel coordinates in colours that are all seen, good ones on top, then the baseline's.

    Args:
        figure: Optuna's.
        names: Of its axes, which it shortens.
        small_is_good: Direction of the objective.
        baseline: Trial whose line the legend names.
    """
    scale = SCALE if small_is_good else SCALE[::-1]
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
    for line in lines:  # y: places on the axes, 0 to 1; the first axis is the objective's
        line.update(opacity=0.9, line={"color": sample_colorscale(scale, float(line.y[0]))[0], "width": 2})
    others = [trace for trace in figure.data if not any(trace is line for line in lines)]
    for trace in others:
        if trace.marker.showscale:
            trace.marker.update(colorscale=scale, reversescale=False)
    figure.data = (*sorted(lines, key=lambda line: line.y[0], reverse=small_is_good), *others)
    own = [line for line in lines if baseline is not None and _shows(line, baseline)]
    if baseline is not None and own:
        figure.add_trace(own[0])
        named = {"name": f"baseline: trial {baseline.number}", "showlegend": True}
        figure.data[-1].update(**named, line={"color": PALETTE[2], "width": 4, "dash": "dash"})
        figure.update_layout(showlegend=True)
    for note in figure.layout.annotations:
        note.text = cut(note.text, _SHORT if len(names) <= UPRIGHT else _SHORTEST)
    figure.update_annotations(font_size=11, bgcolor="rgba(255, 255, 255, 0.85)", borderpad=1)  # values at the axes
    broken = [_broken(name, _SHORT if len(names) <= UPRIGHT else _LONGEST) for name in names]
    figure.update_xaxes(ticktext=broken, tickfont_size=12, tickangle=0 if len(names) <= UPRIGHT else 40)
    return figure.update_layout(height=HEIGHT if len(names) <= UPRIGHT else SLANTED)


def _shows(line: go.Scatter, trial: FrozenTrial) -> bool:
    """Tell whether a line of parallel coordinates has a trial's parameters, as far as its hover text holds them."""
    return all(_alike(shown, trial.params[name]) for name, shown in list(line.customdata)[1:] if name in trial.params)


def _alike(shown: str, value: Any) -> bool:
    """Tell whether a text may show a value: the figure has three digits."""
    try:
        return math.isclose(float(shown), float(value), rel_tol=6e-3)
    except ValueError:
        return shown == str(value)


def _in_rows(figure: go.Figure) -> go.Figure:
    """Arrange the panels of a slice figure in rows."""
    axes = list(figure.select_xaxes())
    rows = math.ceil(len(axes) / COLUMNS)
    columns = min(len(axes), COLUMNS)
    height = ROW * rows + BORDERS  # pixels
    title = figure.layout.yaxis.title.text
    arranged = make_subplots(rows, columns, shared_yaxes="all", vertical_spacing=LABELS / (ROW * rows))
    for trace in figure.data:
        number = int((trace.xaxis or "x")[1:] or 1) - 1  # x, x2, x3, ...
        trace.update(xaxis=None, yaxis=None)
        if trace.marker.colorscale is not None:
            trace.marker.update(colorscale=SCALE, reversescale=True, size=8)
            if trace.marker.showscale:
                trace.marker.colorbar.update(x=1.02, xpad=10, dtick=max(1, math.ceil(max(trace.marker.color) / 6)))
        arranged.add_trace(trace, number // columns + 1, number % columns + 1)
    for number, axis in enumerate(axes):
        settings = {name: axis[name] for name in ("title", "type", "categoryorder", "categoryarray")}
        arranged.update_xaxes(settings, row=number // columns + 1, col=number % columns + 1)
    arranged.update_yaxes(title_text=title, col=1)
    return arranged.update_layout(height=height)


def _paired(parameters: int, trials: int) -> int:
    """How many parameters have their ranks drawn in pairs: fewer where there are many trials, two at least."""
    counts = range(min(parameters, MOST_PAIRED), 2, -1)
    return next((count for count in counts if count**2 * trials <= MOST_POINTS), 2)


def _light(figure: go.Figure) -> go.Figure:
    """Keep of every point's text its trial and value: with all parameters in every panel it weighs half a megabyte."""
    for trace in figure.data:
        if trace.hovertext is not None:
            lines = [text.split("<br>") for text in trace.hovertext]
            trace.hovertext = [f"{line[0]}<br>{next(one for one in line if one.startswith('<b>'))}" for line in lines]
    return figure


def _best_above(figure: go.Figure, order: Sequence[int]) -> go.Figure:
    """Draw good trials after bad ones that lie in the same place, as choices make them do.

    Args:
        figure: Of ranks; the text of a point begins with its trial.
        order: Numbers of the trials, the worst first.
    """
    place = {f"Trial #{number}": row for row, number in enumerate(order)}
    for trace in figure.data:
        if trace.hovertext is not None:
            rows = sorted(range(len(trace.hovertext)), key=lambda row: place[trace.hovertext[row].split("<br>")[0]])
            trace.update({name: [trace[name][row] for row in rows] for name in ("x", "y", "hovertext")})
            trace.marker.color = [trace.marker.color[row] for row in rows]
    return figure


def _ticked(figure: go.Figure, ticks: Mapping[str, Mapping[str, Any]], margin: float = 0.0) -> go.Figure:
    """Tick the axes of parameters where their values are, and break their long names.

    Args:
        figure: Axes are known by their titles, or by those of the axes that they match.
        ticks: Settings per parameter.
        margin: Share by which given ranges grow at both ends.
    """
    axes = [*figure.select_xaxes(), *figure.select_yaxes()]
    named = {axis.plotly_name: axis.title.text for axis in axes}
    for axis in axes:
        shown = f"{axis.plotly_name[0]}axis{axis.matches[1:]}" if axis.matches else axis.plotly_name
        name = named[axis.plotly_name] or named[shown] or ""
        # Of a category axis every choice has its tick.
        axis.update(_choices(figure, axis) if axis.type == "category" else ticks.get(name, {}))
        if axis.range is not None:
            low, high = axis.range
            axis.range = (low - margin * (high - low), high + margin * (high - low))
        if axis.title.text is not None:
            axis.title.update(text=_broken(axis.title.text), font_size=13, standoff=8)
        axis.tickfont.size = 11
    return figure


def _choices(figure: go.Figure, axis: Any) -> dict[str, Any]:
    """Ticks of a category axis whose long names are broken, so that neighbours do not overlap."""
    letter = axis.plotly_name[0]
    own = f"{letter}{axis.plotly_name.removeprefix(f'{letter}axis')}"
    traces = [trace for trace in figure.data if (trace[f"{letter}axis"] or letter) == own]
    values = dict.fromkeys(
        axis.categoryarray or [v for trace in traces if trace[letter] is not None for v in trace[letter]]
    )
    if letter == "y" or not values:
        return {}
    return {
        "tickvals": list(values),
        "ticktext": [_broken(str(value).strip("'"), _SHORT) for value in values],
        "tickangle": 0,
    }


def _ticks(trials: list[FrozenTrial], name: str) -> dict[str, Any]:
    """Settings of a parameter's axis: a tick per choice, a few round numbers on a log scale."""
    space = next(trial.distributions[name] for trial in trials if name in trial.distributions)
    if isinstance(space, CategoricalDistribution):
        numbers = all(isinstance(choice, int | float) for choice in space.choices)
        return {"tickvals": list(space.choices)} if numbers else {}
    if not getattr(space, "log", False):
        return {"nticks": 5}
    logs = [math.log10(trial.params[name]) for trial in trials if name in trial.params]
    decades = max(logs) - min(logs)
    steps = (1, 2, 5) if decades < 0.8 else (1, 3) if decades < 1.6 else (1,)
    powers = range(math.floor(min(logs)), math.ceil(max(logs)) + 1, math.ceil(decades / MOST_DECADES) or 1)
    values = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def _broken(name: str, longest: int = _LONGEST) -> str:
    """Break a long name after underscores and at spaces, into lines of so many letters where it can be."""
    lines = [""]
    for piece in re.findall(r"[^_ ]*[_ ]|[^_ ]+", name):
        fits = len(lines[-1] + piece.rstrip()) <= longest
        lines = [*lines[:-1], lines[-1] + piece] if fits else [*lines, piece]
    return "<br>".join(line.rstrip() for line in lines if line)

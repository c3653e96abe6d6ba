"""Figures of a study: HTML that opens offline, PNG where a browser is found."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
import plotly.offline
from optuna import visualization
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import first_line
from gazegaussian.utils.counts import counted
from gazegaussian.utils.progress import progress
from helpers.analysis.comparable_trials import ComparableTrials, comparable_trials
from helpers.analysis.importance import Importances, parameter_importances
from helpers.reporting.figure_layout import FILE_WIDTH, fit
from helpers.reporting.importance_figure import importance_figure
from helpers.reporting.learning_curves import intermediate_values
from helpers.reporting.palette import STATE_COLORS
from helpers.reporting.parameter_figures import parameter_figures
from helpers.reporting.pareto_figure import pareto_figure
from helpers.reporting.pngs import find_browser, write_pngs
from helpers.results.attributes import INHERITED, RESUME_OF
from helpers.results.ranking import baseline_trial, metric_names
from helpers.results.trial_states import INTERRUPTED, successors
from helpers.utils.files import write_bytes, write_text
from helpers.utils.formatting import with_unit

logger = logging.getLogger(__name__)

EDF_MARGIN = 0.04  # beside the first and the last step, which would lie on the edge
MOST_TICKS = 20  # steps of one; plotly would tick 0.5 epochs on a short axis
HINTS = ("parallel_coordinate", "slice", "rank", "contour")  # figures that say of which trials they are
PLOTLY_SCRIPT = "plotly.min.js"  # the name that pages made with include_plotlyjs="directory" load


def study_figures(study: optuna.Study, importances: Importances | None = None) -> dict[str, go.Figure]:
    """Draw what the finished trials allow.

    Args:
        study: A loaded study.
        importances: As `parameter_importances` gives them; computed here when they are not at hand.

    Returns:
        Figures by name: history (one per objective), importances, parallel_coordinate, slice, contour, rank, edf,
        timeline, intermediate_values (one objective) and pareto_front (two or three). What cannot be drawn yet is left
        out (`missing_figures` says what it needs).

    >>> figures = helpers.study_figures(helpers.load_study(Path("optuna_results/digits")))
    >>> "history" in figures
    True
    """
    metrics = metric_names(study)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    makers: dict[str, Callable[[], go.Figure]] = {}
    hint = ""
    for number, metric in enumerate(metrics if complete else ()):
        name = "history" if number == 0 else f"history_{metric}"
        makers[name] = partial(_history, study, number, with_unit(metric))
    trials = study.get_trials(deepcopy=False)
    reported = any(trial.intermediate_values for trial in trials)
    if len(metrics) == 1 and reported:
        makers["intermediate_values"] = partial(intermediate_values, study)
    elif 1 < len(metrics) <= 3 and complete:
        makers["pareto_front"] = partial(pareto_figure, study)
    if trials:
        makers["timeline"] = lambda: _timeline(study)
    comparable = comparable_trials(study)
    if len(comparable.trials) >= 2:
        ranked = importances or parameter_importances(study)
        if ranked.parameters:
            makers["importances"] = lambda: importance_figure(ranked)
        drawn, hint = parameter_figures(
            study, _ordered_parameters(comparable, ranked), with_unit(metrics[0]), comparable
        )
        makers |= drawn
    figures = {}
    for name, make in progress(makers.items(), "figures drawn", len(makers), leave=False):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # experimental functions of Optuna
                notes = [hint] if hint and name in HINTS else []
                figures[name] = _style(name, make(), study.study_name, with_unit(metrics[0]), notes)
        except (ValueError, RuntimeError) as error:
            logger.info("no figure %s: %s", name, first_line(error))
    return figures


def _history(study: optuna.Study, objective: int, metric: str) -> go.Figure:
    """Optuna's history of an objective with a mark at the baseline."""
    # Without a target Optuna knows the direction, and marks the best value so far.
    target = None if len(study.directions) == 1 else lambda trial: trial.values[objective]
    figure = visualization.plot_optimization_history(study, target=target, target_name=metric)
    figure.update_traces(line_shape="hv", selector={"mode": "lines"})  # the best value jumps at a trial
    figure.update_traces(name="best so far", selector={"name": "Best Value"})
    first = baseline_trial(study)
    if first is not None:
        figure.add_scatter(
            x=[first.number],
            y=[first.values[objective]],
            mode="markers",
            marker={"symbol": "diamond-open", "size": 14, "color": "#000000"},
            name=f"baseline: trial {first.number}",
        )
    return figure


def _ordered_parameters(comparable: ComparableTrials, importances: Importances) -> list[str]:
    """Varied parameters: by importance where it is known, the others in the order of their appearance."""
    spaces = {name: space for trial in comparable.trials for name, space in trial.distributions.items()}
    varied = [name for name, space in spaces.items() if not space.single()]
    return list(dict.fromkeys([*importances.names, *varied]))


def _timeline(study: optuna.Study) -> go.Figure:
    """Optuna's timeline with the interrupted trials apart from the failed ones, and with what resumed ones took over."""
    figure = visualization.plot_timeline(study)
    trials = study.get_trials(deepcopy=False)
    resumed = successors(trials)
    for trace in figure.data:
        trace.text = [_inherited(trials[number]) + text for number, text in zip(trace.y, trace.text, strict=True)]
    for failed in [trace for trace in figure.data if trace.name == "FAIL"]:
        traces = []
        for name, wanted in (("FAIL", False), (INTERRUPTED, True)):
            positions = [position for position, number in enumerate(failed.y) if (number in resumed) == wanted]
            part = {key: [failed[key][position] for position in positions] for key in ("x", "y", "base", "text")}
            if positions:
                shown = failed.hovertemplate.replace("FAIL", name)
                traces.append(go.Bar(failed).update(**part, name=name, hovertemplate=shown))
        figure.data = [trace for trace in figure.data if trace is not failed]
        figure.add_traces(traces)
    return figure


def _inherited(trial: FrozenTrial) -> str:
    """What a resumed trial's numbers count that its bar does not show, as a line of its hover text; empty for others."""
    if RESUME_OF not in trial.user_attrs:
        return ""
    before = trial.user_attrs.get(INHERITED, {"epochs": 0, "seconds": 0.0})
    return (
        f"resumes trial {trial.user_attrs[RESUME_OF]}: its epochs and seconds count "
        f"{counted(before['epochs'], 'epoch')} and {before['seconds']:.1f} s from before<br>"
    )


def _whole_ticks(figure: go.Figure, axis: str) -> dict[str, Any]:
    """Settings of an axis of whole numbers, such as epochs and trials."""
    known = [value for trace in figure.data if trace[axis] is not None for value in trace[axis]]
    few = not known or max(known) - min(known) <= MOST_TICKS
    return {"tickformat": "d", "dtick": 1} if few else {"tickformat": "d"}


TITLES = {
    "intermediate_values": "Learning curves",
    "edf": "Share of trials at or below a value",
    "parallel_coordinate": "Parameters of all trials",
    "slice": "Each parameter against the metric",
    "rank": "Ranks over pairs of parameters",
    "contour": "The two most important parameters",
    "timeline": "Timeline",
    "pareto_front": "Pareto front",
}


def _style(name: str, figure: go.Figure, study_name: str, metric: str, notes: Sequence[str]) -> go.Figure:
    """Name the axes, tick whole numbers as such, and fit the figure to where it is shown."""
    if name == "intermediate_values":
        figure.update_layout(xaxis_title="Epoch", yaxis_title=metric)
        figure.update_xaxes(_whole_ticks(figure, "x"))
    elif name == "timeline":
        figure.update_layout(xaxis_title="Time (local)", yaxis_title="Trial")
        for trace in figure.data:
            trace.marker.color = STATE_COLORS.get(trace.name, "#999999")
        figure.update_yaxes(_whole_ticks(figure, "y"))
    elif name.startswith("history"):
        figure.update_xaxes(_whole_ticks(figure, "x"))
    elif name == "edf":
        figure.update_traces(line_shape="hv")  # a share jumps at a value
        figure.update_layout(yaxis_title="share of the complete trials", showlegend=False, yaxis_range=[-0.03, 1.03])
        values = [value for trace in figure.data for value in trace.x]
        room = EDF_MARGIN * (max(values) - min(values))
        if room:  # else plotly chooses
            figure.update_xaxes(range=[min(values) - room, max(values) + room])
    elif name == "importances":
        own = figure.layout.title
        return fit(figure, own.text, study_name, [own.subtitle.text])
    return fit(figure, TITLES.get(name, "History"), study_name, notes)


def save_figures(
    study: optuna.Study, folder: Path, png: bool = True, figures: dict[str, go.Figure] | None = None
) -> list[Path]:
    """Write the figures of a study.

    Args:
        study: A loaded study.
        folder: `figures/` of the study.
        png: Also as PNG, when a browser is found.
        figures: As `study_figures` gives them, when they are drawn already.

    Returns:
        The files; the HTML pages share one `plotly.min.js` beside them and need no network.

    >>> study = helpers.load_study(Path("optuna_results/digits"))
    >>> files = helpers.save_figures(study, Path("my_figures"), png=False)
    >>> Path("my_figures/history.html") in files
    True
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    figures = study_figures(study) if figures is None else figures
    script = plotly.offline.get_plotlyjs().encode()
    if not (folder / PLOTLY_SCRIPT).is_file() or (folder / PLOTLY_SCRIPT).stat().st_size != len(script):
        write_bytes(folder / PLOTLY_SCRIPT, script)
    for name, figure in figures.items():
        written.append(write_text(folder / f"{name}.html", figure.to_html(include_plotlyjs="directory")))
    if png and find_browser() is None:
        logger.info("no browser found for PNG figures; the HTML ones are complete (set BROWSER_PATH to a Chromium)")
    elif png:
        logger.info("drawing %d figures as PNG in a browser", len(figures))
        written += _write_pngs(figures, folder)
    return written


def _write_pngs(figures: dict[str, go.Figure], folder: Path) -> list[Path]:
    """Draw all of them, or none: elsewhere first, since a browser that fails leaves some."""
    with tempfile.TemporaryDirectory(prefix="figures_") as name:
        drawn = [Path(name) / f"{figure}.png" for figure in figures]
        try:
            write_pngs(dict(zip(drawn, figures.values(), strict=True)), FILE_WIDTH, scale=1.5)
            return [write_bytes(folder / path.name, path.read_bytes()) for path in drawn]
        except Exception as error:  # a browser fails in many ways, and the HTML figures are there
            logger.warning("PNG figures left out: the browser failed (%s)", first_line(error))
            return []

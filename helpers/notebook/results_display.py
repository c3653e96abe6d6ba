"""Results in a notebook: every figure with its numbers beside it as a table, and what the best trials draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from IPython.display import Image, display
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.utils.counts import counted
from helpers.analysis.comparable_trials import comparable_trials
from helpers.analysis.confirm_report import load_confirm
from helpers.analysis.importance import Importances, parameter_importances
from helpers.notebook.display import say
from helpers.notebook.figure_display import show_figure
from helpers.reporting.captions import missing_figures
from helpers.reporting.figures import study_figures
from helpers.reporting.findings import headline, measure_usage, parameter_rows
from helpers.reporting.report_images import picture_key, top_pictures
from helpers.results.attributes import ENVIRONMENT
from helpers.results.pictures import captioned_row, jpeg_bytes
from helpers.results.ranking import is_feasible, metric_names, objective_key, signs
from helpers.results.tables import top_table
from helpers.results.trial_states import FINISHED, epochs_of, state_name, successors
from helpers.utils.runtime import is_in_notebook
from helpers.utils.tables import show_folded, show_table

MOST_ROWS = 200  # of a table that is folded
PICTURE_WIDTH = 460  # pixels of one trial's images
# Notebook 7 puts outputs of more than 1820 pixels into a box as high as half a figure, whatever the cell's metadata say.
_AREA = ".jp-CodeCell.jp-mod-outputsScrolled .jp-Cell-outputArea:has(.all-figures)"
WHOLE = (
    f'<style>{_AREA} {{ max-height: none; }} {_AREA}::after {{ display: none; }}</style><div class="all-figures"></div>'
)
Rows = list[dict[str, Any]]


def show_results(study: optuna.Study, folder: Path, names: Sequence[str] | None = None) -> None:
    """Display the study's figures, each with its numbers in a line that a click opens; every table comes once.

    Args:
        study: A loaded study.
        folder: Its folder.
        names: Which figures, in this order; default all.
    """
    importances = parameter_importances(study)
    figures = study_figures(study, importances)
    missing = missing_figures(study, figures)
    if is_in_notebook():
        display({"text/html": WHOLE, "text/plain": ""}, raw=True)
    shown = [top_table(study)]  # the best trials have a cell of their own
    for name in names or (*figures, *missing):
        if name not in figures:
            say(f"{name}: needs {missing.get(name, 'another kind of study')}")
            continue
        show_figure(figures[name])
        rows = figure_rows(name, study, Path(folder), importances, figures[name])
        if rows and rows not in shown:
            shown.append(rows)
            cut = f", the first {MOST_ROWS} of {len(rows)}" if len(rows) > MOST_ROWS else ""
            show_folded(f"Numbers of {name}{cut}", rows[:MOST_ROWS])


def figure_rows(
    name: str, study: optuna.Study, folder: Path, importances: Importances, figure: go.Figure | None = None
) -> Rows:
    """What a figure shows, as rows.

    Args:
        name: As `study_figures` calls it.
        study: A loaded study.
        folder: Its folder.
        importances: Of its parameters.
        figure: The figure; of a contour it names the axes.
    """
    metrics = metric_names(study)
    objective = metrics.index(name.removeprefix("history_")) if name.removeprefix("history_") in metrics else 0
    makers: dict[str, Callable[[], Rows]] = {
        "intermediate_values": partial(_curves, study),
        "timeline": partial(_times, study, folder),
        "importances": importances.rows,
        "slice": partial(_ranges, study),
        "edf": partial(_quantiles, study),
        "pareto_front": partial(_front, study),
        "contour": partial(_pairs, study, figure),
    }
    if name.startswith("history"):
        return _history(study, objective)
    return makers.get(name, partial(top_table, study))()


def _history(study: optuna.Study, objective: int) -> Rows:
    sign = signs(study)[objective]
    best = float("inf")
    rows = Rows()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        best = min(best, sign * trial.values[objective])
        values = {metric_names(study)[objective]: trial.values[objective], "best so far": sign * best}
        rows.append({"trial": trial.number, **values})
    return rows


def _curves(study: optuna.Study) -> Rows:
    sign = signs(study)[0]
    rows = Rows()
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        curve = [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)]
        if curve:
            best = min(range(len(curve)), key=lambda epoch: sign * curve[epoch])
            values = {"first": curve[0], "best": curve[best], "best epoch": best + 1, "last": curve[-1]}
            rows.append({"trial": trial.number, "state": trial.state.name.lower(), "epochs": len(curve), **values})
    return rows


def _times(study: optuna.Study, folder: Path) -> Rows:
    rows = Rows()
    trials = study.get_trials(deepcopy=False)
    resumed = successors(trials)
    for trial in trials:
        seconds = trial.user_attrs.get("seconds")
        epochs = epochs_of(trial, folder)
        start = None if trial.datetime_start is None else trial.datetime_start.strftime("%Y-%m-%d %H:%M:%S")
        each = {"seconds": seconds, "seconds per epoch": seconds / epochs if seconds and epochs else None}
        rows.append(
            {
                "trial": trial.number,
                "state": state_name(trial, resumed).lower(),
                "start": start,
                "epochs": epochs,
                **each,
            }
        )
    return rows


def _ranges(study: optuna.Study) -> Rows:
    """Per parameter: what was tried, what the best quarter of the compared trials had, what the best one had."""
    compared = [trial for trial, _ in _best_first(study)]
    names = dict.fromkeys(name for trial in compared for name in trial.params)
    rows = Rows()
    for name in names:
        values = [trial.params[name] for trial in compared if name in trial.params]
        quarter = values[: max(1, len(values) // 4)]
        rows.append(
            {"parameter": name, "tried": _span(values), "best quarter": _span(quarter), "best trial": _span(values[:1])}
        )
    return rows


def _span(values: Sequence[Any]) -> str:
    distinct = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    if numbers and len(distinct) > 4:
        return f"{min(distinct):.4g} to {max(distinct):.4g}"
    ordered = sorted(distinct) if numbers else sorted(distinct, key=str)
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in ordered)


def _quantiles(study: optuna.Study) -> Rows:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = sorted(trial.values[0] for trial in complete)
    metric = metric_names(study)[0]
    return [
        {"share of trials at or below": f"{share}%", metric: values[math.ceil(share * len(values) / 100) - 1]}
        for share in (25, 50, 75, 100)
    ]


def _front(study: optuna.Study) -> Rows:
    names = metric_names(study)
    return [
        {"trial": trial.number, **dict(zip(names, trial.values, strict=True)), **trial.params}
        for trial in sorted(study.best_trials, key=lambda trial: (objective_key(study, trial), trial.number))
    ]


def _best_first(study: optuna.Study) -> list[tuple[FrozenTrial, float]]:
    """Trials that the figures over parameters show with their values, feasible ones first, then by value."""
    compared = comparable_trials(study)
    sign = signs(study)[0]
    pairs = [(trial, float(value)) for trial, value in zip(compared.trials, compared.values, strict=True)]
    if compared.epoch is None:
        return sorted(pairs, key=lambda pair: objective_key(study, pair[0]))
    return sorted(pairs, key=lambda pair: (not is_feasible(pair[0]), sign * pair[1]))


def _pairs(study: optuna.Study, figure: go.Figure | None) -> Rows:
    axes = () if figure is None else (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text)
    compared = _best_first(study)
    names = [name for name in axes if any(name in trial.params for trial, _ in compared)]
    label = comparable_trials(study).label(metric_names(study)[0])
    return [
        {"trial": trial.number, **{name: trial.params.get(name) for name in names}, label: value}
        for trial, value in compared
    ]


def show_best_parameters(study: optuna.Study, folder: Path) -> None:
    """Display the best trial's parameters beside the baseline's, how much better they are, and the file that holds them."""
    confirm = load_confirm(Path(folder))
    rows = parameter_rows(study, confirm)
    if rows:
        say("\n".join(headline(study, confirm, Path(folder))))
        show_table(f"Best parameters of {study.study_name}", rows)
        say(f"For `train --params`: {Path(folder) / 'best.yaml'}")
    else:
        say(f"{study.study_name}: no complete trial yet")


def show_top_images(study: optuna.Study, folder: Path, k: int = 3) -> None:
    """Display the validation images of the k best trials side by side, each of its best epoch, under number and value."""
    pictures = top_pictures(study, Path(folder), k)
    if pictures:
        display(Image(jpeg_bytes(captioned_row(pictures, PICTURE_WIDTH))))
        say(picture_key(study))
    else:
        say("no finished trial kept images")


def show_spending(study: optuna.Study, folder: Path) -> None:
    """Print what the study took and where, and what pruning saved."""
    say(usage_sentence(study, Path(folder)))


def usage_sentence(study: optuna.Study, folder: Path) -> str:
    """Say what the study took and where, and what pruning saved."""
    took = measure_usage(study, folder)
    device = study.user_attrs.get(ENVIRONMENT, {}).get("device", "an unknown device")
    each = f", {took.seconds / took.epochs:.1f} s each, the start of trials included" if took.epochs else ""
    saved = (
        f"; pruning saved {counted(took.saved_epochs, 'epoch')} ({took.saved_share:.0%})" if took.saved_epochs else ""
    )
    return f"{study.study_name}: {took.trained} on {device}{each}{saved}."


__all__ = [
    "figure_rows",
    "show_best_parameters",
    "show_results",
    "show_spending",
    "show_top_images",
    "usage_sentence",
]

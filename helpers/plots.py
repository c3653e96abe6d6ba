"""Figures of a study: HTML that opens offline, PNG where a browser is found."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import plotly.graph_objects as go
import plotly.offline
from optuna import visualization
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState

from helpers.files import write_bytes, write_text

logger = logging.getLogger(__name__)

# Okabe and Ito's colours for colour-blind readers.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
SCRIPT = "plotly.min.js"  # the name that pages made with include_plotlyjs="directory" load
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def study_figures(study: optuna.Study) -> dict[str, go.Figure]:
    """Draw what the finished trials allow.

    Args:
        study: A loaded study.

    Returns:
        Figures by name: history, importances, parallel_coordinate, intermediate_values. Importances need at least two
        complete trials that differ; what cannot be drawn is left out and logged.
    """
    metric = study.user_attrs.get("metric", "objective value")
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    makers: dict[str, Callable[[], go.Figure]] = {
        "history": lambda: visualization.plot_optimization_history(study, target_name=metric),
        "intermediate_values": lambda: visualization.plot_intermediate_values(study),
    }
    if len(complete) >= 2:
        # Below some 200 trials fANOVA names the right parameter more often than Optuna's default (PED-ANOVA).
        evaluator = FanovaImportanceEvaluator(seed=0)
        makers["importances"] = lambda: visualization.plot_param_importances(
            study, evaluator=evaluator, target_name=metric
        )
        makers["parallel_coordinate"] = lambda: visualization.plot_parallel_coordinate(study, target_name=metric)
    else:
        logger.info("importances and parallel coordinates need two complete trials; there are %d", len(complete))
    figures = {}
    for name, make in makers.items():
        try:
            figures[name] = _style(make(), study.study_name)
        except (ValueError, RuntimeError) as error:
            logger.info("no figure %s: %s", name, str(error).splitlines()[0])
    if "intermediate_values" in figures:
        figures["intermediate_values"].update_layout(xaxis_title="Epoch", yaxis_title=metric)
    return figures


def _style(figure: go.Figure, study_name: str) -> go.Figure:
    title = figure.layout.title.text or ""
    figure.update_layout(
        template="plotly_white",
        colorway=PALETTE,
        title=f"{title} - {study_name}",
        font_size=14,
        width=900,
        height=520,
        margin={"l": 70, "r": 40, "t": 80, "b": 60},
    )
    return figure


def find_browser() -> str | None:
    """Path of a browser that can draw PNGs: BROWSER_PATH, or the first known one on the PATH."""
    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def save_figures(study: optuna.Study, folder: Path, png: bool = True) -> list[Path]:
    """Write the figures of a study.

    Args:
        study: A loaded study.
        folder: `figures/` of the study.
        png: Also as PNG, when a browser is found.

    Returns:
        The files; the HTML pages share one `plotly.min.js` beside them and need no network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    figures = study_figures(study)
    script = plotly.offline.get_plotlyjs().encode()
    if not (folder / SCRIPT).is_file() or (folder / SCRIPT).stat().st_size != len(script):
        write_bytes(folder / SCRIPT, script)
    for name, figure in figures.items():
        written.append(write_text(folder / f"{name}.html", figure.to_html(include_plotlyjs="directory")))
    browser = find_browser() if png else None
    if png and browser is None:
        logger.info("no browser found for PNG figures; the HTML ones are complete (set BROWSER_PATH to a Chromium)")
    if browser is not None:
        os.environ.setdefault("BROWSER_PATH", browser)
        written += _write_pngs(figures, folder)
    return written


def _write_pngs(figures: dict[str, go.Figure], folder: Path) -> list[Path]:
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        try:
            write_bytes(path, figure.to_image(format="png", scale=1.5))
        except (RuntimeError, OSError, ValueError) as error:
            logger.warning("PNG figures left out: the browser failed (%s)", str(error).splitlines()[0])
            break
        paths.append(path)
    return paths

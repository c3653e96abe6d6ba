"""How large the figures in the notebooks' cells are, by front end: the largest output of each notebook, in kB.

    python -m benchmarks.study.output_sizes [--trials 500] [--json]

The study is made up: eight parameters, trials of ten epochs, a third of them pruned. A front end is what the notebooks' code
takes for one (`helpers.utils.runtime.runtime_name`); PNGs are drawn where a browser is found. 00 and 04 show no figures of plotly.
"""

from __future__ import annotations

import argparse
import json
import random
from typing import Any
from unittest import mock

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.rendering.timing import show
from helpers.notebook import figure_display
from helpers.notebook.live_curves import live_curves
from helpers.reporting.figures import study_figures
from helpers.study.progress import StudyProgress, TrialProgress

MOST_BYTES = 1_000_000  # of one output
FRONT_ENDS = {
    "Colab": "Colab",
    "Colab from VS Code": "Colab from VS Code",
    "Kaggle": "Kaggle",
    "VS Code": "VS Code",
    "JupyterLab, Notebook 7": "Jupyter",
}
EPOCHS = 10
METRIC = "val_loss"
SHOWN = {  # figures of the notebooks' cells; None: all of a study
    "01, 02": ("history", "importances", "parallel_coordinate"),
    "03": None,
}
LIVE = "01, 02: learning curves while a study runs"


def made_up_study(trials: int) -> optuna.Study:
    """A study of the shipped kind, in memory."""
    chance = random.Random(0)
    study = optuna.create_study(study_name="made_up")
    study.set_user_attr("metric", METRIC)
    spread: dict[str, BaseDistribution] = {f"rate_{i}": FloatDistribution(1e-5, 1e-1, log=True) for i in range(5)}
    choices: dict[str, BaseDistribution] = {f"width_{i}": CategoricalDistribution([64, 128, 256]) for i in range(3)}
    for _ in range(trials):
        params: dict[str, Any] = {name: 10 ** chance.uniform(-5, -1) for name in spread}
        params |= {name: chance.choice([64, 128, 256]) for name in choices}
        pruned = chance.random() < 1 / 3
        best = abs(params["rate_0"] - 1e-3) ** 0.3 + 0.1 * chance.random()
        curve = {epoch: best + 1 / (epoch + 1) for epoch in range(EPOCHS // 2 if pruned else EPOCHS)}
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        trial = create_trial(
            state=state,
            params=params,
            distributions=spread | choices,
            value=None if pruned else min(curve.values()),
            intermediate_values=curve,
        )
        study.add_trial(trial)
    return study


def progress_of(study: optuna.Study) -> StudyProgress:
    """What a monitor would have read of it."""
    trials = study.get_trials(deepcopy=False)
    shown = [
        TrialProgress(
            trial.number,
            trial.state.name.lower(),
            len(trial.intermediate_values),
            tuple(trial.intermediate_values.values()),
        )
        for trial in trials
    ]
    best = study.best_trial
    value = best.value
    assert value is not None
    return StudyProgress(
        study.study_name, METRIC, True, tuple(shown), 0, len(shown), EPOCHS, 1.0, 0.0, (best.number, value), None
    )


def rows(trials: int) -> list[dict[str, Any]]:
    """Bytes of every figure, by notebook and front end."""
    study = made_up_study(trials)
    drawn: dict[str, go.Figure] = study_figures(study)
    curves = live_curves(progress_of(study))
    assert curves is not None
    sizes = []
    for notebook, names in SHOWN.items():
        for name in names or drawn:
            forms = figure_display.bundle(drawn[name])
            sizes.append({"table": f"{notebook}: bytes of an output", "figure": name, **_sizes(drawn[name], forms)})
    sizes.append({"table": f"{LIVE}, bytes", "figure": "learning curves", **_sizes(curves, {})})
    return sizes


def _sizes(figure: go.Figure, forms: dict[str, Any]) -> dict[str, int]:
    """Bytes of a figure's output by front end; `forms` of another one bring what all have, its PNG."""
    common = {kind: content for kind, content in forms.items() if kind in ("image/png", "text/plain")}
    sizes = {}
    for shown_as, name in FRONT_ENDS.items():
        with mock.patch("helpers.utils.runtime.runtime_name", return_value=name):
            sizes[shown_as] = len(json.dumps(figure_display.interactive(figure) | common))
    return sizes


def main(arguments: list[str] | None = None) -> None:
    """Measure and print.

    Raises:
        SystemExit: An output is above 1 MB.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    measured = rows(args.trials)
    show(measured, "cpu", args.json)
    large = [row for row in measured if max(row[name] for name in FRONT_ENDS) > MOST_BYTES]
    if large:
        raise SystemExit("above 1 MB: " + ", ".join(f"{row['figure']} in {row['table']}" for row in large))


if __name__ == "__main__":
    main()

"""What a study found: the table of trials, the winner, and both on disk."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import read_yaml
from helpers.files import write_csv, write_json, write_yaml
from helpers.ownership import BASELINE, REASON

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best complete trial, or None while there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    return min(complete, key=lambda t: (sign * float(t.value or 0.0), t.number), default=None)


def summary_rows(study: optuna.Study, best_first: bool = False) -> list[dict[str, Any]]:
    """One row per trial: state, value, epochs, parameters, reason of a failure.

    Args:
        study: A loaded study.
        best_first: Complete trials by value, then pruned ones by their last value, then the others; else by number.
    """
    rows = []
    trials = list(study.get_trials(deepcopy=False))
    if best_first:
        sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
        order = {state: rank for rank, state in enumerate(_FINISHED)}
        trials.sort(key=lambda t: (order.get(t.state, len(order)), sign * (t.value or 0.0), t.number))
    for trial in trials:
        reported, seconds = trial.intermediate_values, trial.user_attrs.get("seconds")
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name,
                "value": trial.value if trial.state in _FINISHED else None,
                "epochs": len(reported),
                "seconds": None if seconds is None else round(seconds, 1),
                "baseline": bool(trial.user_attrs.get(BASELINE, False)),
                **trial.params,
                "note": trial.user_attrs.get(REASON, trial.user_attrs.get("stop_reason", "")),
            }
        )
    return rows


def top_trials(
    study: optuna.Study,
    k: int,
    all_metrics: bool = False,
    all_hyper_parameters: bool = False,
    only_completed: bool = False,
) -> list[dict[str, Any]]:
    """The k best trials.

    Args:
        study: A loaded study.
        k: How many.
        all_metrics: Every metric that `metrics.csv` of the trial holds, not the study's alone.
        all_hyper_parameters: Every field of the trial's configuration, not the searched ones alone.
        only_completed: Leave pruned trials out.

    Returns:
        `{trial, hyperparameters, metrics}`, best first; a metric has `last`, `min` and `max` over the epochs.
    """
    states = (TrialState.COMPLETE,) if only_completed else _FINISHED
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    trials = [t for t in study.get_trials(deepcopy=False, states=states) if t.value is not None]
    trials.sort(key=lambda t: (sign * float(t.value or 0.0), t.number))
    return [_describe(study, trial, all_metrics, all_hyper_parameters) for trial in trials[:k]]


def _describe(study: optuna.Study, trial: FrozenTrial, all_metrics: bool, all_fields: bool) -> dict[str, Any]:
    metric = study.user_attrs.get("metric", "value")
    curves = {metric: [trial.intermediate_values[e] for e in sorted(trial.intermediate_values)]}
    folder = Path(trial.user_attrs.get("folder", ""))
    if all_metrics and (folder / "metrics.csv").is_file():
        curves = read_curves(folder / "metrics.csv")
    parameters: dict[str, Any] = dict(trial.params)
    if all_fields and (folder / "config.yaml").is_file():
        content = read_yaml(folder / "config.yaml")
        sections = [section for section in content.values() if isinstance(section, dict)]
        parameters = {name: value for section in sections for name, value in section.items()}
    metrics = {
        name: {"last": values[-1], "min": min(values), "max": max(values)} for name, values in curves.items() if values
    }
    return {"trial": trial.number, "hyperparameters": parameters, "metrics": metrics}


def read_curves(path: Path) -> dict[str, list[float]]:
    """Columns of a `metrics.csv`, empty cells left out."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


def save_results(study: optuna.Study, folder: Path) -> None:
    """Write `summary.csv`, and `best.json` and `best.yaml` once a trial is complete."""
    write_csv(folder / "summary.csv", summary_rows(study))
    best = best_trial(study)
    if best is None:
        return
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    first = next((t for t in complete if t.user_attrs.get(BASELINE)), None)  # an interrupted baseline comes again
    content = {
        "study": study.study_name,
        "stage": study.user_attrs.get("stage"),
        "metric": study.user_attrs.get("metric"),
        "direction": study.direction.name.lower(),
        "trial": best.number,
        "value": best.value,
        "baseline_value": None if first is None else first.value,
        "parameters": best.params,
        "checkpoint": best.user_attrs.get("best_checkpoint"),
    }
    write_json(folder / "best.json", content)
    write_yaml(folder / "best.yaml", content)

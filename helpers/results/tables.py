"""What a study found: the order of its trials, the tables of all and of the best, and both on disk.

Better means: meets the constraints, then the first objective, then the others. A pruned trial counts with its best epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.utils.yaml_files import read_yaml
from helpers.results.attributes import BASELINE, REASON
from helpers.results.lookup import readable_config
from helpers.results.mesh_heads import MESH_HEAD
from helpers.results.ranking import (
    baseline_trial,
    best_trial,
    is_feasible,
    metric_names,
    objective_key,
    pareto_front,
    ranked_trials,
    signs,
)
from helpers.results.remedies import remedy
from helpers.results.run_files import read_curves, trial_dir
from helpers.results.trial_states import FINISHED, epochs_of, state_name, successors
from helpers.utils.files import identify, write_csv, write_json, write_text, write_yaml
from helpers.utils.plain_text import markdown

TOP = 10  # trials in top.json, top.csv and top.md
HTML_FILE = "report.html"
MARKDOWN_FILE = "report.md"


def summary_rows(study: optuna.Study, best_first: bool = False, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per trial: state (see `trial_states`), value, epochs, parameters, reason of a failure.

    Args:
        study: A loaded study.
        best_first: Complete trials by value, then pruned ones by their best epoch, then the others; else by number.
        folder: The study's folder, when it was moved since the study ran.

    >>> rows = helpers.summary_rows(helpers.load_study(Path("optuna_results/digits")), best_first=True)
    >>> rows[0]["state"]
    'COMPLETE'
    """
    trials = list(study.get_trials(deepcopy=False))
    if best_first:
        order = {state: rank for rank, state in enumerate(FINISHED)}
        trials.sort(
            key=lambda t: (order.get(t.state, len(order)), not is_feasible(t), objective_key(study, t), t.number)
        )
    constrained = any(trial.constraints for trial in trials)
    resumed = successors(trials)
    return [_summary(study, trial, constrained, resumed, folder) for trial in trials]


def trial_rows(study: optuna.Study, best_first: bool = False, folder: Path | None = None) -> list[dict[str, Any]]:
    """Rows of `summary_rows` for people: the baseline is a state, not a column of its own, which wide tables lack room for.

    >>> rows = helpers.trial_rows(helpers.load_study(Path("optuna_results/digits")))
    >>> rows[0]["trial"], rows[0]["state"], rows[0]["epochs"]
    (0, 'baseline COMPLETE', 2)
    """
    rows = summary_rows(study, best_first, folder)
    for row in rows:
        if row.pop("baseline"):
            row["state"] = f"baseline {row['state']}"
    return rows


def searched(study: optuna.Study) -> list[str]:
    """Names of all parameters that its trials have: the columns that give way in narrow tables."""
    return list(dict.fromkeys(name for trial in study.get_trials(deepcopy=False) for name in trial.params))


def pareto_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """One row per trial that no other beats in every objective: its objectives and parameters."""
    names = metric_names(study)
    rows = []
    for trial in sorted(pareto_front(study), key=lambda t: (objective_key(study, t), t.number)):
        rows.append({"trial": trial.number, **dict(zip(names, trial.values, strict=False)), **trial.params})
    return rows


def _summary(
    study: optuna.Study, trial: FrozenTrial, constrained: bool, resumed: Mapping[int, int], folder: Path | None
) -> dict[str, Any]:
    names = metric_names(study)
    seconds = trial.user_attrs.get("seconds")
    if len(study.directions) == 1:
        values: dict[str, Any] = {"value": trial.value if trial.state in FINISHED else None}
    else:
        values = dict(zip(names, trial.values or [None] * len(names), strict=False))
    feasible = {"feasible": is_feasible(trial) if trial.constraints else None} if constrained else {}
    note = trial.user_attrs.get(REASON, trial.user_attrs.get("stop_reason", ""))
    if state_name(trial, resumed) == TrialState.FAIL.name:
        note = f"{note}; to do: {remedy(note)}".removeprefix("; ")
    if trial.number in resumed:
        note = f"{note}; trial {resumed[trial.number]} resumes it".removeprefix("; ")
    return {
        "trial": trial.number,
        "state": state_name(trial, resumed),
        **values,
        **feasible,
        "epochs": epochs_of(trial, folder),
        "seconds": None if seconds is None else round(seconds, 1),
        "baseline": bool(trial.user_attrs.get(BASELINE, False)),
        **trial.params,
        "note": note,
    }


def top_trials(
    study: optuna.Study,
    k: int,
    all_metrics: bool = False,
    all_hyper_parameters: bool = False,
    only_completed: bool = False,
    folder: Path | None = None,
) -> list[dict[str, Any]]:
    """The k best trials.

    Args:
        study: A loaded study.
        k: How many.
        all_metrics: Every metric that `metrics.csv` of the trial holds, not the study's alone.
        all_hyper_parameters: Every field of the trial's configuration, not the searched ones alone.
        only_completed: Leave pruned trials out.
        folder: The study's folder, when it was moved since the study ran.

    Returns:
        `{trial, hyperparameters, metrics}`, best first; a metric has `last`, `min` and `max` over the epochs.

    >>> (best,) = helpers.top_trials(helpers.load_study(Path("optuna_results/digits")), k=1)
    >>> sorted(best["metrics"]["val_loss"])
    ['last', 'max', 'min']
    """
    states = (TrialState.COMPLETE,) if only_completed else FINISHED
    trials = ranked_trials(study, states)[: max(k, 0)]
    return [_describe(study, trial, all_metrics, all_hyper_parameters, folder) for trial in trials]


def _describe(
    study: optuna.Study, trial: FrozenTrial, all_metrics: bool, all_fields: bool, folder: Path | None
) -> dict[str, Any]:
    names = metric_names(study)
    reported = [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)]
    # Several objectives are never reported per epoch, and a migrated trial may bring its value alone.
    curves = {names[0]: reported} if reported else {n: [v] for n, v in zip(names, trial.values or [], strict=False)}
    run_dir = trial_dir(trial, folder)
    if all_metrics and run_dir is not None and (run_dir / "metrics.csv").is_file():
        curves = {**curves, **read_curves(run_dir / "metrics.csv")}
    parameters: dict[str, Any] = dict(trial.params)
    if all_fields and run_dir is not None and (run_dir / "config.yaml").is_file():
        content = read_yaml(run_dir / "config.yaml")
        sections = [section for section in content.values() if isinstance(section, dict)]
        parameters = {name: value for section in sections for name, value in section.items()}
    metrics = {
        name: {"last": values[-1], "min": min(values), "max": max(values)} for name, values in curves.items() if values
    }
    return {"trial": trial.number, "hyperparameters": parameters, "metrics": metrics}


def save_results(study: optuna.Study, folder: Path) -> None:
    """Write `summary.csv`, and `top.{json,csv,md}` and `best.{json,yaml}` once there are trials for them.

    >>> helpers.save_results(helpers.load_study(Path("optuna_results/digits")), Path("my_tables"))
    >>> Path("my_tables/best.json").is_file()
    True
    """
    write_csv(folder / "summary.csv", summary_rows(study, folder=folder))
    save_top(study, folder)
    best = best_trial(study)
    if best is None:
        return
    first = baseline_trial(study)
    names = metric_names(study)
    several = len(study.directions) > 1
    directions = [direction.name.lower() for direction in study.directions]
    content = {
        "study": study.study_name,
        "stage": study.user_attrs.get("stage"),
        "metric": names if several else names[0],
        "direction": directions if several else directions[0],
        "trial": best.number,
        "value": best.values if several else best.value,
        "baseline_value": None if first is None else first.values if several else first.value,
        "parameters": best.params,
        "checkpoint": best.user_attrs.get("best_checkpoint"),
    }
    start = getattr(readable_config(study), MESH_HEAD, None)
    if start is not None:
        content[MESH_HEAD] = identify(start)
    if several:
        # The best trial above is the best in the first objective; these are all that nothing beats in every objective.
        content["pareto_front"] = [
            {"trial": t.number, "values": t.values, "parameters": t.params} for t in pareto_front(study)
        ]
    write_json(folder / "best.json", content)
    write_yaml(folder / "best.yaml", content)


def save_top(study: optuna.Study, folder: Path, k: int = TOP) -> list[Path]:
    """Write the k best trials as `top.json` (`[{trial, hyperparameters, metrics}]`), `top.csv` and `top.md`.

    Returns:
        The files; none while no trial has a value.
    """
    rows = top_trials(study, k, all_metrics=True, folder=folder)
    if not rows:
        return []
    flat = top_table(study, k)
    return [
        write_json(folder / "top.json", rows),
        write_csv(folder / "top.csv", flat),
        write_text(folder / "top.md", f"# Best trials of {study.study_name}\n\n{markdown_table(flat)}"),
    ]


def top_table(study: optuna.Study, k: int = TOP) -> list[dict[str, Any]]:
    """The k best trials as flat rows: rank, trial, state, best value per objective, parameters."""
    # first: a trial that another worker finishes now is among those read then
    rows = []
    top = top_trials(study, k)
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False, states=FINISHED)}
    for rank, row in enumerate(top, 1):
        trial = trials[row["trial"]]
        values = [sign * value for sign, value in zip(signs(study), objective_key(study, trial), strict=False)]
        named = dict(zip(metric_names(study), values, strict=False))
        note = {} if is_feasible(trial) else {"constraints": "not met"}
        state = f"{'baseline ' if trial.user_attrs.get(BASELINE) else ''}{trial.state.name.lower()}"
        rows.append({"rank": rank, "trial": trial.number, "state": state, **named, **note, **trial.params})
    return rows


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a Markdown table; columns in order of first appearance, floats with four digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[cell(name) for name in names], ["---"] * len(names)]
    lines += [[cell(row.get(name)) for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """Show a value in a table of Markdown: four digits, nothing for None, text on one line and made harmless."""
    if value is None:
        return ""
    return markdown(f"{value:.4g}" if isinstance(value, float) else str(value))

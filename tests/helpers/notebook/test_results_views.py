"""Figures with their tables, and the pictures of the best trials."""

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from dashboard_support import NONE, pictured
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from study_results_support import study_of
from study_support import line_train, run_study, spec

from gazegaussian.errors import ConfigError
from gazegaussian.utils.counts import counted
from helpers import best_trial, stop, study_figures, top_trials
from helpers.analysis.importance import parameter_importances
from helpers.notebook.display import newest_studies, show_top
from helpers.notebook.results_display import (
    figure_rows,
    show_best_parameters,
    show_results,
    show_spending,
    show_top_images,
    usage_sentence,
)
from helpers.reporting.report_images import top_pictures

SPACE = {"optimisation": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    return run_study(spec(folder, pictured, trials=5)), folder / "toy"


def tables(study, folder):
    importances = parameter_importances(study)
    return {
        name: figure_rows(name, study, folder, importances, fig)
        for name, fig in study_figures(study, importances).items()
    }


def test_every_figure_has_a_table_that_agrees_with_it(study):
    study, folder = study
    rows_of = tables(study, folder)
    assert all(rows_of.values())
    history = rows_of["history"]
    assert history[-1]["best so far"] == best_trial(study).value == min(row["val_loss"] for row in history)
    curves = {row["trial"]: row for row in rows_of["intermediate_values"]}
    for trial in study.trials:
        values = list(trial.intermediate_values.values())
        assert curves[trial.number]["best"] == min(values) == values[curves[trial.number]["best epoch"] - 1]
    assert [row["trial"] for row in rows_of["timeline"]] == [t.number for t in study.trials]
    assert all(row["seconds per epoch"] == row["seconds"] / row["epochs"] for row in rows_of["timeline"])
    values = [trial.value for trial in study.trials if trial.state == TrialState.COMPLETE]
    for row in rows_of["edf"]:
        share = float(row["share of trials at or below"].rstrip("%")) / 100
        value = row["val_loss"]
        assert value in values
        assert sum(v < value for v in values) < share * len(values) <= sum(v <= value for v in values)
    assert rows_of["slice"][0]["best trial"] == f"{best_trial(study).params['lr']:.4g}"


def test_two_objectives_have_their_front_as_figure_and_table(tmp_path):
    values = [[1.0, 5.0], [2.0, 9.0], [3.0, 8.0], [1.0, 6.0], [0.5, 1.0]]
    study = study_of(["minimize", "maximize"], [(v, {}) for v in values], ["gaze_error_deg", "psnr"])
    rows_of = tables(study, tmp_path)
    assert [(row["trial"], row["gaze_error_deg"], row["psnr"]) for row in rows_of["pareto_front"]] == [
        (4, 0.5, 1.0), (3, 1.0, 6.0), (1, 2.0, 9.0)
    ]  # fmt: skip
    assert [row["best so far"] for row in rows_of["history_psnr"]] == [5.0, 9.0, 9.0, 9.0, 9.0]
    if "contour" in rows_of:
        assert set(rows_of["contour"][0]) == {"trial", "x", "y", "gaze_error_deg"}


def test_the_pictures_of_the_best_trials_come_best_first_with_number_and_value(study, monkeypatch):
    study, folder = study
    shown = []
    monkeypatch.setattr("helpers.notebook.results_display.display", shown.append)
    pictures = top_pictures(study, folder, 2)
    for (path, caption), row in zip(pictures, top_trials(study, 2), strict=True):
        assert caption.startswith(f"trial {row['trial']}")
        assert f"{row['metrics']['val_loss']['min']:.4g}" in caption
        best = min(range(8), key=list(study.trials[row["trial"]].intermediate_values.values()).__getitem__)
        assert path == folder / f"trial_{row['trial']:04d}" / "images" / f"epoch_{best + 1:04d}.png"
    show_top_images(study, folder, 2)
    assert shown[0].data.startswith(b"\xff\xd8"), "a JPEG: notebooks are saved with it"


def test_figures_are_shown_with_their_numbers_folded_and_no_table_twice(study, monkeypatch, capsys):
    study, folder = study
    figures = []
    forms = []
    monkeypatch.setattr("helpers.notebook.results_display.show_figure", figures.append)
    monkeypatch.setattr("helpers.utils.tables.display_forms", forms.append)
    show_results(study, folder)
    assert len(figures) == len(study_figures(study))
    named = [form["text/html"].partition("</summary>")[0] for form in forms]
    assert all(name.startswith("<details><summary>Numbers of ") for name in named), "every table is folded"
    folded = {name.split("Numbers of ")[1].partition(":")[0] for name in named}
    assert {"history", "intermediate_values", "edf", "timeline"} <= folded
    assert "parallel_coordinate" not in folded, "its table is that of the best trials"
    assert f": {len(study.trials)} rows" in next(name for name in named if "timeline" in name)
    tables = [form["text/plain"].partition("\n")[2] for form in forms]
    assert len(set(tables)) == len(tables)
    show_results(study, folder, ["rank"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("rank: needs two parameters that vary")


@pytest.mark.parametrize("directions", [["minimize"], ["maximize"], ["minimize", "maximize"]])
def test_the_best_trials_are_a_table_whatever_the_objectives(directions, monkeypatch):
    rows = []
    monkeypatch.setattr("helpers.notebook.display.show_table", lambda title, shown: rows.extend(shown))
    names = ["gaze_error_deg", "psnr"][: len(directions)]
    two = study_of(
        directions, [([v, 9.0][: len(names)], {}) for v in (2.0, 1.0, 3.0)], names if len(names) > 1 else names[0]
    )
    show_top(two, 2)
    assert [row["trial"] for row in rows] == ([2, 0] if directions == ["maximize"] else [1, 0])
    assert [row["gaze_error_deg"] for row in rows] == ([3.0, 2.0] if directions == ["maximize"] else [1.0, 2.0])
    assert {"x", "y"} <= rows[0].keys()


def test_a_study_without_a_finished_trial_is_shown_in_sentences(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("helpers.notebook.results_display.show_figure", lambda figure: None)
    monkeypatch.setattr("helpers.utils.tables.display_forms", lambda forms: None)
    for begun in (False, True):
        study = study_of(["minimize"], [], "val_loss")
        if begun:
            study.ask({"x": FloatDistribution(0, 1)})
        show_top(study)
        show_best_parameters(study, tmp_path)
        show_spending(study, tmp_path)
        show_top_images(study, tmp_path)
        show_results(study, tmp_path)
        said = capsys.readouterr().out
        assert "several: no trial has finished yet" in said
        assert "several: no complete trial yet" in said
        assert "history: needs a complete trial" in said


@pytest.mark.parametrize("epochs", [0, 1])
def test_notebook_03_opens_a_study_that_was_stopped_before_a_trial_finished(
    epochs, repo_root, tmp_path, monkeypatch, capsys
):
    """The notebook's own cells, but for set-up and dashboard."""

    def stopped_in_its_first_epoch(config, run_dir, hooks, resume):
        stop(tmp_path / "toy")
        return line_train(config, run_dir, hooks, resume)

    asked = spec(tmp_path, stopped_in_its_first_epoch, trials=2)
    run_study(asked if epochs else replace(asked, timeout=0.0))
    figures = []
    monkeypatch.setattr("helpers.notebook.results_display.show_figure", figures.append)
    monkeypatch.setattr("helpers.utils.tables.display_forms", lambda forms: None)
    cells = [cell.source for cell in nbformat.read(repo_root / "notebooks" / "03_read_results.ipynb", 4).cells
             if cell.cell_type == "code"]  # fmt: skip
    names = {"home": tmp_path, "Path": Path}
    for source in cells[1:-1]:
        exec(source, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "toy - finished trials: 0"
    assert "toy: no trial has finished yet; this cell shows the best ones once there are some." in said
    assert "toy: no complete trial yet" in said
    assert "no finished trial kept images" in said
    assert any(line.startswith(f"toy: {counted(epochs, 'epoch')} in ") for line in said)
    assert "history: needs a complete trial" in said
    assert ("intermediate_values: needs a finished epoch" in said) == (epochs == 0)
    assert len(figures) == 2 if epochs else len(figures) <= 1, "learning curves and timeline"


def test_spending_is_one_sentence(tmp_path):
    study = run_study(spec(tmp_path, line_train, trials=2, search_space=SPACE, **NONE))
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}
    assert usage_sentence(study, tmp_path / "toy").startswith("toy: 16 epochs in ")


def test_the_newest_study_of_each_stage_is_shown_unless_others_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no study under .*run notebook 01 first"):
        newest_studies(tmp_path)
    for name in ("second", "first", "second"):  # continued last, though begun first
        done = len(list((tmp_path / name).glob("trial_*")))
        run_study(spec(tmp_path, line_train, study_name=name, trials=done + 1))
    assert newest_studies(tmp_path) == ["second"]
    run_study(spec(tmp_path, line_train, study_name="toy_smoke_2", trials=1))
    assert newest_studies(tmp_path) == ["second"], "a rehearsal"

"""What a study leaves: winner, table, top trials, figures."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState
from study_results_support import study_of
from study_support import run_study, spec

from gazegaussian.errors import ConfigError
from helpers import best_trial, load_study, save_figures, study_figures, summary_rows, top_trials
from helpers.reporting.captions import missing_figures
from helpers.reporting.palette import PALETTE
from helpers.results.best_files import read_best
from helpers.results.tables import save_results


def test_best_parameters_on_disk_are_the_winner(tmp_path):
    study = run_study(spec(tmp_path))
    best = best_trial(study)
    for name in ("best.json", "best.yaml"):
        assert read_best(tmp_path / "toy" / name)["parameters"] == pytest.approx(best.params)
    content = json.loads((tmp_path / "toy" / "best.json").read_text())
    assert content["value"] == min(t.value for t in study.trials if t.state == TrialState.COMPLETE)
    assert Path(content["checkpoint"]).read_bytes() == b"weights"
    assert not list(tmp_path.rglob("*.tmp"))


def test_top_trials_have_the_documented_shape(tmp_path):
    study = run_study(spec(tmp_path, trials=12))
    rows = top_trials(study, 3)
    values = [row["metrics"]["val_loss"]["min"] for row in rows]
    assert values == sorted(values)
    assert set(rows[0]) == {"trial", "hyperparameters", "metrics"}
    assert set(rows[0]["metrics"]["val_loss"]) == {"last", "min", "max"}
    complete = {t.number for t in study.trials if t.state == TrialState.COMPLETE}
    assert {row["trial"] for row in top_trials(study, 12, only_completed=True)} == complete


def test_figures_are_written_as_offline_html(tmp_path):
    study = run_study(spec(tmp_path, trials=6))
    paths = save_figures(study, tmp_path / "figures", png=False)
    names = {"history", "parallel_coordinate", "slice", "edf", "timeline", "intermediate_values", "importances"}
    assert {p.stem for p in paths} - {"rank", "contour"} == names
    text = (tmp_path / "figures" / "history.html").read_text()
    assert "cdn.plot.ly" not in text
    script = tmp_path / "figures" / "plotly.min.js"
    whole = script.read_bytes()
    assert len(whole) > 1e6
    script.write_bytes(whole[:1000])  # as a kill in the middle of copying leaves it
    save_figures(study, tmp_path / "figures", png=False)
    assert script.read_bytes() == whole


def test_top_trials_are_on_disk_in_three_shapes(tmp_path):
    study = run_study(spec(tmp_path, trials=5))
    assert json.loads((tmp_path / "toy" / "top.json").read_text()) == top_trials(study, 10, all_metrics=True)
    lines = (tmp_path / "toy" / "top.md").read_text().splitlines()
    rows = (tmp_path / "toy" / "top.csv").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == len(rows) + 1 == 7
    assert rows[0].split(",")[:4] == ["rank", "trial", "state", "val_loss"]
    assert rows[1].split(",")[1] == str(best_trial(study).number)


def test_a_trial_that_breaks_a_constraint_is_never_the_best(tmp_path):
    broken = {"render_fps": 3.0}
    met = {"render_fps": -1.0}
    study = study_of(["maximize"], [([1.0], met), ([9.0], broken), ([2.0], met)], "psnr")
    assert best_trial(study).number == 2
    assert [row["trial"] for row in top_trials(study, 3)] == [2, 0, 1]
    save_results(study, tmp_path)
    assert json.loads((tmp_path / "best.json").read_text())["trial"] == 2
    assert [row["feasible"] for row in summary_rows(study)] == [True, False, True]
    assert best_trial(study_of(["minimize"], [([1.0], broken)], "psnr")) is None


def test_several_objectives_leave_their_front(tmp_path):
    values = [[1.0, 5.0], [2.0, 9.0], [3.0, 8.0], [1.0, 6.0], [0.5, 1.0]]
    study = study_of(["minimize", "maximize"], [(v, {}) for v in values], ["gaze_error_deg", "psnr"])
    save_results(study, tmp_path)
    content = json.loads((tmp_path / "best.json").read_text())
    assert [row["trial"] for row in content["pareto_front"]] == [4, 3, 1]
    assert (content["trial"], content["value"]) == (4, [0.5, 1.0])
    assert content["metric"] == ["gaze_error_deg", "psnr"]
    figures = study_figures(study)
    assert {"history", "history_psnr", "pareto_front", "slice"} <= figures.keys()
    assert "intermediate_values" not in figures
    assert figures["history"].layout.yaxis.title.text == "gaze_error_deg (degrees)"
    assert figures["history_psnr"].layout.yaxis.title.text == "psnr (dB)"
    assert {"importances", "rank", "contour"} <= figures.keys()
    assert missing_figures(study, figures) == {}


def test_contour_is_of_two_parameters_and_colours_are_the_palette(tmp_path):
    study = study_of(["minimize"], [([(n - 4) ** 2 / 9.0], {}) for n in range(10)], "val_loss")
    figures = study_figures(study)
    titles = {figures["contour"].layout.xaxis.title.text, figures["contour"].layout.yaxis.title.text}
    assert titles == {"x", "y"}
    shares = figures["importances"].data[0]
    assert list(figures["importances"].layout.yaxis.categoryarray)[-1] == shares.y[0], (
        "the most important one is on top"
    )
    assert all(extent >= 0 for extent in (*shares.error_x.array, *shares.error_x.arrayminus))
    drawn = [trace for trace in figures["timeline"].data if trace.name == "COMPLETE"]
    assert [trace.marker.color for trace in drawn] == [PALETTE[0]]


def test_summary_has_a_row_per_trial(tmp_path):
    study = run_study(spec(tmp_path, trials=4))
    rows = summary_rows(study)
    assert [row["trial"] for row in rows] == [t.number for t in study.trials]
    assert (tmp_path / "toy" / "summary.csv").read_text().count("\n") == len(rows) + 1
    sorted_rows = summary_rows(study, best_first=True)
    assert sorted_rows[0]["trial"] == best_trial(study).number
    assert sorted(row["trial"] for row in sorted_rows) == [row["trial"] for row in rows]
    json.loads(json.dumps(rows, allow_nan=False))


def test_load_study_names_what_is_missing(tmp_path):
    (tmp_path / "configs").mkdir()
    with pytest.raises(
        ConfigError, match=r"No study at .*configs\. Run `study` first, or name the folder of a study\."
    ):
        load_study(tmp_path / "configs")
    with pytest.raises(ConfigError, match="No study at"):
        load_study(tmp_path / "nothing")

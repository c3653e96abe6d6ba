"""What a study leaves: winner, table, top trials, figures."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState
from test_study import request

from gazegaussian.errors import ConfigError
from helpers import best_trial, load_study, run_study, save_figures, summary_rows, top_trials
from helpers.files import read_parameters


def test_best_parameters_on_disk_are_the_winner(tmp_path):
    study = run_study(request(tmp_path))
    best = best_trial(study)
    for name in ("best.json", "best.yaml"):
        assert read_parameters(tmp_path / "toy" / name) == pytest.approx(best.params)
    content = json.loads((tmp_path / "toy" / "best.json").read_text())
    assert content["value"] == min(t.value for t in study.trials if t.state == TrialState.COMPLETE)
    assert Path(content["checkpoint"]).read_bytes() == b"weights"
    assert not list(tmp_path.rglob("*.tmp"))


def test_top_trials_have_the_documented_shape(tmp_path):
    study = run_study(request(tmp_path, trials=12))
    rows = top_trials(study, 3)
    values = [row["metrics"]["val_loss"]["min"] for row in rows]
    assert values == sorted(values)
    assert set(rows[0]) == {"trial", "hyperparameters", "metrics"}
    assert set(rows[0]["metrics"]["val_loss"]) == {"last", "min", "max"}
    complete = {t.number for t in study.trials if t.state == TrialState.COMPLETE}
    assert {row["trial"] for row in top_trials(study, 12, only_completed=True)} == complete


def test_figures_are_written_as_offline_html(tmp_path):
    study = run_study(request(tmp_path, trials=6))
    paths = save_figures(study, tmp_path / "figures", png=False)
    assert {p.name for p in paths} >= {"history.html", "importances.html", "intermediate_values.html"}
    text = (tmp_path / "figures" / "history.html").read_text()
    assert "cdn.plot.ly" not in text
    script = tmp_path / "figures" / "plotly.min.js"
    whole = script.read_bytes()
    assert len(whole) > 1e6
    script.write_bytes(whole[:1000])  # as a kill in the middle of copying leaves it
    save_figures(study, tmp_path / "figures", png=False)
    assert script.read_bytes() == whole


def test_summary_has_a_row_per_trial(tmp_path):
    study = run_study(request(tmp_path, trials=4))
    rows = summary_rows(study)
    assert [row["trial"] for row in rows] == [t.number for t in study.trials]
    assert (tmp_path / "toy" / "summary.csv").read_text().count("\n") == len(rows) + 1
    sorted_rows = summary_rows(study, best_first=True)
    assert sorted_rows[0]["trial"] == best_trial(study).number
    assert sorted(row["trial"] for row in sorted_rows) == [row["trial"] for row in rows]
    json.loads(json.dumps(rows, allow_nan=False))


def test_load_study_names_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="No study at"):
        load_study(tmp_path / "nothing")

"""examples/tune_your_model from the command line: study with pruning, resume, report, confirmation, export, notebook."""

import json
import shutil
import sys

import optuna
import pytest
from cli_support import run_command

from gazegaussian import stages
from helpers.results.lookup import readable_config
from helpers.storage.backends import open_storage

MODULE = "examples/tune_your_model/digits.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory, repo_root, stages_for_a_while):
    """A copy of the example, as a user has it in a folder of their own."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(
        repo_root / "examples" / "tune_your_model", folder / "mine", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


@pytest.fixture(scope="module")
def study(place):
    """Three trials, then more with two workers: the same command resumes."""
    args = [
        "study",
        "digits",
        "--stage-module",
        place / "mine" / "digits.py",
        "--out",
        place / "out",
        "--device",
        "cpu",
    ]
    first = run_command(*args, "--n-trials", 3, "--workers", 1)
    return place / "out" / "digits", first, run_command(*args, "--n-trials", 8, "--workers", 2)


def opened(folder):
    return optuna.load_study(study_name="digits", storage=open_storage(None, folder, must_exist=True))


def test_a_study_of_an_own_model_is_audited_prunes_resumes_and_reports(study):
    folder, first, second = study
    assert "audit 6/6" in first.stderr
    assert "audit: already passed" in second.stderr
    assert "accuracy 0." in first.stderr  # a metric of the stage, in the line of an epoch
    trials = opened(folder).get_trials(deepcopy=False)
    assert len(trials) == 8
    states = {trial.state.name for trial in trials}
    assert states == {"COMPLETE", "PRUNED"}
    pruned = next(trial for trial in trials if trial.state.name == "PRUNED")
    assert 0 < len(pruned.intermediate_values) < 6  # reported after each epoch
    best = json.loads((folder / "best.json").read_text())
    assert best["stage"] == "digits"
    assert "held-out digits, those that are misread in red" in (folder / "report.html").read_text()
    assert opened(folder).user_attrs["environment"]["stage code"].startswith("digits.py (sha256 ")


def test_a_stored_study_imports_nothing_by_itself(study, place):
    """The report needs no code of the stage; what trains asks for it."""
    folder, _, _ = study
    module = place / "mine" / "digits.py"
    hidden = module.with_suffix(".txt")
    module.rename(hidden)
    try:
        done = run_command("report", folder, "--out", place / "read")
        assert (place / "read" / "report.html").is_file()
        assert done.returncode == 0
        assert readable_config(opened(folder)) is None
        refused = run_command("confirm", folder, "--seeds", 1, code=2)
        assert "stage must be one of meshhead, gazegaussian, not 'digits'" in refused.stderr
        assert "--stage-module" in refused.stderr
    finally:
        hidden.rename(module)


def test_the_best_trial_is_confirmed_trained_and_exported(study, place):
    folder, _, _ = study
    module = place / "mine" / "digits.py"
    confirmed = run_command("confirm", folder, "--top", 1, "--seeds", 2, "--stage-module", module, "--json")
    rows = json.loads(confirmed.stdout)["configurations"]
    assert len(rows) == 2
    args = ["train", "digits", "--stage-module", module, "--params", folder / "best.json", "--epochs", 2]
    trained = json.loads(run_command(*args, "--out", place / "train", "--device", "cpu", "--json").stdout)
    assert trained["epochs"] == 2
    run_command("export", folder, "--out", place / "export", "--stage-module", module)
    card = (place / "export" / "README.md").read_text()
    assert card.startswith("# digits checkpoint")
    assert "MeshHead" not in card


def test_a_misspelt_stage_is_answered_with_the_option(place):
    done = run_command("study", "digits", "--out", place / "none", code=2)
    assert "'digits' is not one of 'meshhead', 'gazegaussian'" in done.stderr
    assert "--stage-module" in done.stderr


def test_a_notebook_plans_an_own_stage(place, monkeypatch):
    """Cells call the command line, which gets the option, too."""
    from helpers.notebook.session import plan_study

    monkeypatch.chdir(place)
    monkeypatch.setattr(stages, "_STAGES", dict(stages._STAGES))
    monkeypatch.setattr(sys, "path", list(sys.path))
    plan = plan_study("digits", out=place / "cells", stage_module=str(place / "mine" / "digits.py"))
    assert plan._settings[-2:] == ["--stage-module", str(place / "mine" / "digits.py")]
    assert "--config" not in plan._settings  # the class has all defaults
    plan.estimate()

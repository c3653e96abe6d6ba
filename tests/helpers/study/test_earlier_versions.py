"""A study that the version before the rooms made (tests/data/earlier_study) is opened, reported, resumed and confirmed.

Its command line made two trials and was interrupted in the third, once with a store of its own and once, killed, with a journal.
Then the best trial was confirmed. Weights and pictures are left out, and names of the machine.
"""

import json
import shutil
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from repository import ROOT
from study_support import fake_train, run_study

from helpers import StudySpec, load_study
from helpers.analysis.confirm import confirm_study
from helpers.analysis.continue_pruned import load_continued
from helpers.analysis.importance import parameter_importances
from helpers.analysis.test_people import TestPeople
from helpers.reporting.report import report_sections
from helpers.results.attributes import RESUME_OF
from helpers.results.lookup import stored_config
from helpers.search.study_config import load_study_file
from helpers.study.progress import progress

EARLIER = ROOT / "tests" / "data" / "earlier_study"


def of_this_machine(text):
    return text.replace("HOST", socket.gethostname())


@pytest.fixture
def folder(tmp_path):
    """The study's folder, its database made of the statements that are stored."""
    shutil.copytree(EARLIER / "old_mesh", tmp_path / "old_mesh")
    with closing(sqlite3.connect(tmp_path / "old_mesh" / "study.db")) as database:
        database.executescript(of_this_machine((EARLIER / "study.sql").read_text(encoding="utf-8")))
    return tmp_path / "old_mesh"


def spec_of(study, out, name, **changes):
    """What the same command asks for today."""
    study_file = load_study_file(EARLIER / "study.yaml", "meshhead").model_copy(update={"study_name": name, **changes})
    return StudySpec(stored_config(study), study_file, out, train=fake_train, check=lambda config: None)


def measures_l1(config, run_dir, hooks, resume):
    assert config.training.monitor == "l1"
    return fake_train(config, run_dir, hooks, resume)


def states(study):
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_it_is_opened_and_reported(folder):
    study = load_study(folder)
    assert states(study) == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert stored_config(study).model.variant == "default", "it was called ours"
    state = progress(folder)
    assert (state.finished, state.wanted, str(state.stop_kind)) == (2, 3, "interrupted")
    lines = [line for section in report_sections(study, folder, parameter_importances(study)) for line in section.lines]
    assert any("Better on average, though that may be chance" in line for line in lines)
    assert load_continued(folder).statement.startswith("None of 0 pruned trials")


def test_it_is_resumed_by_the_trial_that_was_interrupted_and_one_more(folder):
    spec = replace(spec_of(load_study(folder), folder.parent, "old_mesh", trials=4), train=measures_l1)
    study = run_study(spec)
    assert states(study) == [TrialState.COMPLETE] * 2 + [TrialState.FAIL] + [TrialState.COMPLETE] * 2
    resumed = study.trials[3]
    assert resumed.user_attrs[RESUME_OF] == 2
    assert resumed.params == study.trials[2].params
    assert (folder / "summary.csv").is_file()


def test_a_journal_whose_worker_was_killed_is_resumed(tmp_path):
    journal = tmp_path / "studies.journal"
    journal.write_text(of_this_machine((EARLIER / "studies.journal").read_text(encoding="utf-8")))
    (tmp_path / "old_journal").mkdir()
    study = load_study(tmp_path / "old_journal", str(journal))
    assert states(study) == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]
    spec = replace(spec_of(study, tmp_path, "old_journal", trials=3), storage=str(journal))
    assert states(run_study(spec)) == [TrialState.COMPLETE] * 2 + [TrialState.FAIL, TrialState.COMPLETE]


def test_finished_trainings_of_its_confirmation_are_read_and_not_repeated(folder):
    def train(*_):
        raise AssertionError("trained again")

    before = json.loads((folder / "confirm.json").read_text())
    people = TestPeople(("subject10000.h5",), train)
    report = confirm_study(folder, top=1, seeds=2, train=train, check=lambda config: None, measure=people)
    assert [row.name for row in report.configurations] == [row["name"] for row in before["configurations"]]
    for row, earlier in zip(report.configurations, before["configurations"], strict=True):
        assert list(row.values) == pytest.approx(earlier["values"])
    assert report.looks == 1

"""Stopping a study from outside and looking at it while it runs."""

import hashlib
import shutil
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from running_support import At, acting
from study_support import fake_train, run_study, spec

from gazegaussian.errors import ConfigError
from helpers import StudyReader, load_study, progress, run, stop
from helpers.storage.errors import StorageError
from helpers.storage.location import LOCAL_STORE
from helpers.study.progress import TrialProgress, epochs_ahead

NONE = {"pruner": {"name": "none"}}
COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL
WAITING = TrialState.WAITING


def states(study):
    return [trial.state for trial in study.trials]


def test_stop_ends_a_study_after_the_epoch_and_the_next_call_goes_on(tmp_path):
    hook = At(10, lambda: stop(tmp_path / "toy"))  # third epoch of the second trial
    stopped = run_study(spec(tmp_path, acting(hook), trials=3, **NONE))
    assert states(stopped) == [COMPLETE, FAIL, WAITING]
    assert stopped.user_attrs["stop_reason"] == "stopped on request with 1 finished trial of 3"
    assert hook.epochs == [*range(8), 0, 1, 2]
    rest = At(-1, None)
    done = run_study(spec(tmp_path, acting(rest), trials=3, **NONE))
    assert states(done) == [COMPLETE, FAIL, COMPLETE, COMPLETE], "an old request to stop counted again"
    assert rest.epochs == [*range(3, 8), *range(8)]


def test_stop_from_a_thread_reaches_a_study_at_work(tmp_path):
    begun = threading.Event()
    hook = At(0, begun.set)
    running = partial(run_study, spec(tmp_path, acting_slowly(hook), trials=40, **NONE))
    threading.Thread(target=lambda: begun.wait(30) and stop(tmp_path / "toy")).start()
    study = running()
    assert WAITING in states(study)
    assert len(study.trials) < 40


def acting_slowly(hook):
    def train(config, run_dir, hooks, resume):
        return fake_train(config, run_dir, [hook, *hooks], resume, seconds=0.05)

    return train


def test_stop_during_the_audit_counts(tmp_path, monkeypatch):
    asked = spec(tmp_path, trials=2)
    asked.folder.mkdir()
    stop(asked.folder)  # of an earlier run: forgotten

    def audit(spec):
        assert not (asked.folder / "stop").exists()
        stop(asked.folder)
        return SimpleNamespace(raise_if_failed=lambda: None)

    monkeypatch.setattr("helpers.analysis.audit.audit_study", audit)
    study = run(asked, figures=False)
    assert study.trials[0].state == WAITING
    assert study.user_attrs["stop_reason"] == "stopped on request with 0 finished trials of 2"


def test_stop_without_a_study_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"No study at .*nothing"):
        stop(tmp_path / "nothing")


def test_progress_of_a_study_at_work(tmp_path):
    seen = []
    hook = At(11, lambda: seen.append(progress(tmp_path / "toy")))  # in trial 1, before its fourth epoch is reported
    study = run_study(spec(tmp_path, acting(hook), trials=3, **NONE))
    (state,) = seen
    assert state.states == {"running": 1, "complete": 1}
    assert (state.name, state.metric, state.wanted, state.epochs_per_trial) == ("toy", "val_loss", 3, 8)
    assert [(t.number, t.epochs) for t in state.running] == [(1, 3)]
    assert state.running[0].curve == tuple(study.trials[1].intermediate_values.values())[:3]
    assert state.best == (0, study.trials[0].value)
    assert state.seconds_left == pytest.approx(state.epoch_seconds * (5 + 8))
    after = progress(tmp_path / "toy")
    assert (after.states, after.finished, after.seconds_left) == ({"complete": 3}, 3, 0)
    assert after.best == (study.best_trial.number, study.best_value)


def test_the_expected_epochs_follow_what_pruning_leaves():
    done = [TrialProgress(0, "complete", 8, ()), TrialProgress(1, "pruned", 4, ())]
    assert epochs_ahead((), 5, 8) == 40
    assert epochs_ahead(tuple(done), 5, 8) == 3 * 6
    assert epochs_ahead((*done, TrialProgress(2, "running", 2, ())), 5, 8) == 4 + 2 * 6
    assert epochs_ahead((*done, TrialProgress(2, "running", 7, ())), 5, 8) == 1 + 2 * 6
    assert epochs_ahead(tuple(done), 2, 8) == 0


def test_interrupted_trials_are_told_from_failed_ones(tmp_path):
    hook = At(3, lambda: stop(tmp_path / "toy"))
    run_study(spec(tmp_path, acting(hook), trials=1))
    assert progress(tmp_path / "toy").states == {"interrupted": 1, "waiting": 1}
    run_study(spec(tmp_path, acting(At(-1, None)), trials=1))
    assert progress(tmp_path / "toy").states == {"complete": 1, "interrupted": 1}


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from running_support import At, acting
from study_support import spec
from study_support import run_study
run_study(spec(Path({out!r}), acting(At(2, lambda: os._exit(9))), trials=2))
"""


def test_a_trial_whose_process_is_gone_does_not_run(tmp_path, repo_root):
    code = KILLED.format(root=str(repo_root), tests=str(repo_root / "tests" / "support"), out=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root, check=False).returncode == 9
    assert [t.state for t in load_study(tmp_path / "toy").trials] == [TrialState.RUNNING]
    assert progress(tmp_path / "toy").states == {"interrupted": 1}


def contents(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_looking_writes_nothing(tmp_path):
    run_study(spec(tmp_path, trials=2))
    before = contents(tmp_path)
    reader = StudyReader(tmp_path / "toy")
    assert reader.read() == reader.read()
    assert contents(tmp_path) == before


def test_on_drive_the_live_database_is_read_and_without_it_the_newest_snapshot(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCAL_STORE, str(tmp_path / "local"))
    run_study(spec(tmp_path / "drive", trials=2))
    here = progress(tmp_path / "drive" / "toy")
    shutil.rmtree(tmp_path / "local")
    there = progress(tmp_path / "drive" / "toy")
    assert (there.trials, there.best) == (here.trials, here.best)
    assert not (tmp_path / "local").exists(), "a look restored the database"


def test_what_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(StorageError, match=r"There is no study in .*run `study` first"):
        progress(tmp_path)
    (tmp_path / "study.db").touch()  # the moment before its tables are made
    with pytest.raises(StorageError, match="holds no study yet"):
        progress(tmp_path)


def test_several_objectives_have_epochs_and_no_curves(tmp_path):
    metrics = {"metric": ["val_loss", "size"], "direction": ["minimize", "maximize"]}
    run_study(spec(tmp_path, trials=2, **metrics, **NONE))
    state = progress(tmp_path / "toy")
    assert {(t.state, t.epochs, t.curve) for t in state.trials} == {("complete", 8, ())}
    assert state.best is not None

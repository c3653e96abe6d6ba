"""Trainings in processes of their own: the same results, and whatever kills the process costs one trial."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from isolation_support import hangs, isolated
from optuna.trial import TrialState
from study_support import fake_train, line_train, run_study, spec

from gazegaussian.config import MeshHeadRun
from gazegaussian.errors import ConfigError, DataError
from helpers import load_study
from helpers.study.trial import isolated_by_default
from helpers.utils.processes import portable


def curves(study):
    return [(t.state, t.params, t.values, t.intermediate_values) for t in study.trials]


def test_the_same_study_with_and_without_processes(tmp_path):
    """Two trials, the second is pruned; a budget cuts the first one, and it goes on in another process."""
    eager = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 2}}
    here = run_study(spec(tmp_path / "here", line_train, trials=2, pruner=eager))
    assert [t.state for t in here.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    cut = run_study(isolated(tmp_path / "there", line_train, trials=2, pruner=eager, budget={"max_total_epochs": 3}))
    assert [t.state for t in cut.trials] == [TrialState.FAIL, TrialState.WAITING]
    there = run_study(isolated(tmp_path / "there", line_train, trials=2, pruner=eager))
    assert curves(there)[1] == curves(here)[0]
    assert there.trials[2].state == TrialState.PRUNED
    for number, trial in enumerate(there.trials):
        table = (tmp_path / "there" / "toy" / f"trial_{number:04d}" / "metrics.csv").read_text().splitlines()
        assert len(table) == 1 + len(trial.intermediate_values)
    assert not list((tmp_path / "there").rglob("*.tmp"))


def troubled(config, run_dir, hooks, resume):
    """Another end for each trial."""
    if run_dir.name == "trial_0000":
        os.kill(os.getpid(), signal.SIGSEGV)
    if run_dir.name == "trial_0001":
        os.kill(os.getpid(), signal.SIGKILL)
    logging.getLogger("gazegaussian.somewhere").warning("trial %s is about to fail", 2)
    raise DataError("subject0001.h5: face_vertices is damaged")


def test_a_crash_costs_one_trial_and_an_error_keeps_its_type(tmp_path, caplog):
    with pytest.raises(DataError, match="face_vertices is damaged") as caught:
        run_study(isolated(tmp_path, troubled, max_failures=3))
    assert any("in troubled" in note for note in caught.value.__notes__), "where it comes from is told"
    reasons = [t.user_attrs.get("fail_reason") for t in load_study(tmp_path / "toy").trials]
    assert "SIGSEGV" in reasons[0]
    assert "SIGKILL" in reasons[1]
    assert "out of memory" in reasons[1]
    record = next(r for r in caplog.records if r.name == "gazegaussian.somewhere")
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "trial 2 is about to fail")


def test_a_time_limit_ends_a_training_that_says_nothing(tmp_path):
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"trial_timeout of 0\.5 s reached after 0 of 8 epochs"):
        run_study(isolated(tmp_path, hangs, max_failures=1, budget={"trial_timeout": 0.5}))
    assert time.monotonic() - started < 10
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_travel_becomes_one_that_can():
    class Local(Exception):
        pass

    assert isinstance(portable(MemoryError("no room")), MemoryError)
    assert isinstance(portable(torch.OutOfMemoryError("CUDA out of memory")), torch.OutOfMemoryError)
    travelled = portable(Local("why"))
    assert (type(travelled), str(travelled)) == (RuntimeError, "Local: why")


def test_a_training_that_cannot_be_sent_is_refused_in_one_line(tmp_path):
    def local(config, run_dir, hooks, resume):
        return fake_train(config, run_dir, hooks, resume)

    with pytest.raises(ConfigError, match=r"another process can import.*local") as caught:
        run_study(isolated(tmp_path, local))
    assert "\n" not in str(caught.value)


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from isolation_support import hangs, isolated
from study_support import run_study
if __name__ == "__main__":
    run_study(isolated(Path({out!r}), hangs))
"""


def test_a_child_does_not_outlive_its_parent(tmp_path, repo_root):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(root=str(repo_root), tests=str(repo_root / "tests" / "support"), out=str(tmp_path)))
    parent = subprocess.Popen([sys.executable, str(script)], cwd=repo_root)
    written = tmp_path / "toy" / "child"
    deadline = time.monotonic() + 120
    while not (written.exists() and written.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = psutil.Process(int(written.read_text()))
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=20)
    assert not alive
    assert gone


def test_isolation_is_the_default_where_an_error_spoils_the_process():
    expected = torch.cuda.is_available()
    assert isolated_by_default(MeshHeadRun(training={"device": "auto"})) is expected
    assert not isolated_by_default(MeshHeadRun(training={"device": "cpu"}))

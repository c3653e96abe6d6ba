"""A study that nobody gave a number of workers: exact, sparing with memory, from any program, with samplers that know."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from study_support import run_study, spec, study_file
from worker_support import (
    COMPLETE,
    FAIL,
    NONE,
    check_nothing_lost_or_doubled,
    die,
    epochs,
    finished,
    noted,
)  # fmt: skip

from gazegaussian.utils import cores
from helpers import WorkerPool, load_study, stop
from helpers.search.samplers_and_pruners import study_sampler
from helpers.study.stop import study_usage
from helpers.study.workers import fork_server
from helpers.study.workers.plan import WORKER_MEMORY
from helpers.study.workers.threads import THREAD_VARIABLES
from helpers.utils import processes as resources

PLENTY = int(64e9)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two cores with plenty of memory; workers start in no time."""
    monkeypatch.setattr(fork_server, "START_METHOD", "fork")
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    monkeypatch.setattr(resources, "available_memory", lambda: PLENTY)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def automatic(tmp_path, train=noted, **changes):
    return replace(spec(tmp_path, train, **{**NONE, **changes}), pool=WorkerPool())


def processes(tmp_path):
    return {pid for pid, *_ in epochs(tmp_path)}


def threaded(config, run_dir, hooks, resume):
    """Note the threads that a training gets."""
    import torch

    with (run_dir.parent.parent / "threads.txt").open("a") as stream:
        stream.write(f"{torch.get_num_threads()} {os.environ.get('OMP_NUM_THREADS')}\n")
    return noted(config, run_dir, hooks, resume)


def test_a_study_runs_two_trials_side_by_side_and_exactly_as_many_as_asked_for(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    study = run_study(automatic(tmp_path, partial(noted, seconds=0.1), trials=5))
    check_nothing_lost_or_doubled(study, 5)
    assert len(study.trials) == 5
    assert len(epochs(tmp_path)) == 5 * 8
    assert len(processes(tmp_path)) == 2
    assert "2 trials side by side, one thread each; --workers 1 trains one at a time" in caplog.text
    assert study.user_attrs[WORKER_MEMORY] > 1e8
    assert len(run_study(automatic(tmp_path, trials=5)).trials) == 5, "the same command adds nothing"


@pytest.mark.parametrize(("chosen", "threads", "workers"), [(None, 1, 2), ("1", 1, 2), ("2", 2, 1)])
def test_each_worker_has_the_threads_that_the_user_chose(tmp_path, monkeypatch, chosen, threads, workers):
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    run_study(automatic(tmp_path, threaded, trials=4))
    seen = (tmp_path / "threads.txt").read_text().split()
    assert set(seen[::2]) == {str(threads)}
    assert len(processes(tmp_path)) <= workers
    assert os.environ.get("OMP_NUM_THREADS") == chosen


def test_the_sum_of_epochs_is_exact(tmp_path):
    study = run_study(automatic(tmp_path, trials=9, budget={"max_total_epochs": 21}))
    assert len(epochs(tmp_path)) == study_usage(study).epochs == 21
    assert "max_total_epochs 21 reached" in study.user_attrs["stop_reason"]


def test_a_request_to_stop_ends_both_and_the_same_call_goes_on(tmp_path):
    act = partial(stop, tmp_path / "toy")
    study = run_study(automatic(tmp_path, partial(noted, seconds=0.1, act=act), trials=6))
    assert study.user_attrs["stop_reason"].startswith("stopped on request")
    assert len(finished(study)) < 6
    done = run_study(automatic(tmp_path, trials=6))
    check_nothing_lost_or_doubled(done, 6)
    assert len(epochs(tmp_path)) == 6 * 8, "an epoch was trained twice"


def test_a_killed_worker_is_not_replaced_while_another_works_and_its_trial_goes_on(tmp_path, caplog):
    """The system kills what takes the memory: another one in its place would be killed, too."""
    study = run_study(automatic(tmp_path, partial(noted, seconds=0.1, act=die), trials=4))
    check_nothing_lost_or_doubled(study, 4)
    assert len(epochs(tmp_path)) == 4 * 8, "the epoch at whose end the process died was saved: none is trained twice"
    assert [trial.state for trial in study.trials].count(FAIL) == 1
    assert len(processes(tmp_path)) == 2
    assert "the worker is not replaced" in caplog.text


def test_a_worker_ends_before_memory_runs_out_and_its_trial_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(resources, "available_memory", lambda: 1e8 if len(epochs(tmp_path)) >= 4 else PLENTY)
    study = run_study(automatic(tmp_path, partial(noted, seconds=0.4), trials=3))
    check_nothing_lost_or_doubled(study, 3)
    assert caplog.text.count("low memory (0.10 GB free)") == 1, "the last worker stays"
    assert caplog.text.count("the worker is not replaced, to save memory; workers: 1") == 1
    assert [trial.user_attrs.get("fail_reason") for trial in study.trials if trial.state == FAIL] == ["interrupted"]
    assert len(processes(tmp_path)) == 2
    # The epoch in which it was asked to end is trained twice, or was saved just before it could be noted.
    assert abs(len(epochs(tmp_path)) - 3 * 8) <= 1


PROGRAM = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from study_support import run_study, spec
from worker_support import NONE, noted
from helpers import WorkerPool
from gazegaussian.utils import cores
cores.available_cores = lambda: 2
print("begun", flush=True)
asked = spec(Path({out!r}), partial(noted, seconds={seconds}), trials=4, **NONE)
run_study(replace(asked, pool=WorkerPool()))
"""


def program(tmp_path, repo_root, seconds):
    """A program without the guard `if __name__ == "__main__":`, as people write them; workers start in earnest."""
    path = tmp_path / "program.py"
    names = {"root": str(repo_root), "tests": str(repo_root / "tests" / "support"), "out": str(tmp_path)}
    path.write_text(PROGRAM.format(**names, seconds=seconds))
    return [sys.executable, str(path)]


def test_a_program_without_a_guard_runs_its_study_once(tmp_path, repo_root):
    args = program(tmp_path, repo_root, seconds=0.2)
    done = subprocess.run(args, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n"
    study = load_study(tmp_path / "toy")
    check_nothing_lost_or_doubled(study, 4)
    assert len(study.trials) == 4
    assert len(processes(tmp_path)) == 2


def test_a_killed_program_leaves_no_process_behind_and_its_study_goes_on(tmp_path, repo_root):
    master = psutil.Popen(
        program(tmp_path, repo_root, seconds=0.5), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while len(processes(tmp_path)) < 2:
        assert time.monotonic() < deadline
        assert master.poll() is None
        time.sleep(0.05)
    family = master.children(recursive=True)
    assert {int(pid) for pid in processes(tmp_path)} <= {process.pid for process in family}
    master.send_signal(signal.SIGKILL)
    master.wait(60)
    _, alive = psutil.wait_procs(family, 120)
    assert not alive
    check_nothing_lost_or_doubled(run_study(automatic(tmp_path, trials=4)), 4)


# --- samplers ---------------------------------------------------------------------------------------------------------


def proposal(sampler, multi=False, at_work=None):
    """What a sampler proposes next after 12 finished trials; `at_work`: parameters that five trials train now."""
    metrics = {"metric": ["val_loss", "size"], "direction": ["minimize", "minimize"]} if multi else {}
    file = study_file(trials=50, sampler=sampler, **metrics)
    study = optuna.create_study(directions=file.directions, sampler=study_sampler(file, 0))
    for number in range(12):
        trial = study.ask()
        file.suggest(trial)
        study.tell(trial, [abs(number - 5.0), abs(number - 8.0)][: len(file.directions)])
    for _ in range(0 if at_work is None else 5):
        study.enqueue_trial(at_work)
        file.suggest(study.ask())
    study.sampler = study_sampler(file, 12)
    return file.suggest(study.ask())


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("name", ["tpe", "tpe_univariate", "gp"])
def test_samplers_that_learn_do_not_propose_what_is_at_work(name, multi):
    alone = proposal({"name": name}, multi)
    assert proposal({"name": name}, multi) == alone, "the same seed: this test can tell"
    assert proposal({"name": name}, multi, at_work=alone) != alone
    if name != "gp":
        deaf = {"name": name, "kwargs": {"constant_liar": False}}
        assert proposal(deaf, multi, at_work=alone) == alone


def test_a_grid_gives_no_point_twice_while_all_are_at_work():
    space = {"all": {"lr": {"type": "categorical", "choices": [1e-4, 1e-3, 1e-2]}}}
    file = study_file(trials=3, sampler={"name": "grid"}, search_space=space)
    study = optuna.create_study()
    points = []
    for number in range(3):
        study.sampler = study_sampler(file, number)
        points.append(file.suggest(study.ask())["lr"])
    assert sorted(points) == [1e-4, 1e-3, 1e-2]
    assert all(trial.state == TrialState.RUNNING for trial in study.trials)


def test_proposals_before_a_sampler_learns_do_not_depend_on_the_number_of_workers(tmp_path):
    """The n-th proposal has its own seed."""
    startup = {"name": "tpe", "kwargs": {"n_startup_trials": 20}}
    params = {}
    for workers, out in ((1, tmp_path / "one"), (2, tmp_path / "two")):
        out.mkdir()
        asked = spec(out, partial(noted, seconds=0.03), trials=7, sampler=startup, **NONE)
        study = run_study(replace(asked, pool=WorkerPool(workers)))
        assert {trial.state for trial in study.trials} == {COMPLETE}
        params[workers] = [trial.params for trial in study.trials]
    assert len(processes(tmp_path / "two")) == 2
    assert params[1] == params[2]

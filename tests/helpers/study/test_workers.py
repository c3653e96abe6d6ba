"""Several processes on one study: exact numbers of trials and epochs, deaths, errors, stops, two masters at once."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver

import optuna
import psutil
import pytest
from study_support import run_study, spec
from worker_support import (
    COMPLETE,
    FAIL,
    FORK,
    NONE,
    RUNNING,
    WAITING,
    check_nothing_lost_or_doubled,
    deadly,
    die,
    epochs,
    fail,
    finished,
    noted,
    together,
)  # fmt: skip

import helpers
from gazegaussian.errors import ConfigError, DataError
from helpers import WorkerPool, load_study, progress, stop
from helpers.results.attributes import OWNER
from helpers.study import heartbeat as ownership
from helpers.study import run
from helpers.study.heartbeat import claimed
from helpers.study.loop import failures_in_a_row
from helpers.study.stop import study_usage
from helpers.study.workers import fork_server
from helpers.study.workers import local as local_backend
from helpers.study.workers.local import LocalBackend
from helpers.study.workers.plan import WorkerPlan

EARNEST = fork_server.START_METHOD


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    """Workers that start in no time; one test starts them as they are started in earnest."""
    monkeypatch.setattr(fork_server, "START_METHOD", "fork")
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def pool(tmp_path, train, workers=2, **changes):
    return replace(spec(tmp_path, train, **{**NONE, **changes}), pool=WorkerPool(workers))


@pytest.fixture
def new_fork_server():
    """The process that workers are forked from starts in this test, with its streams, whatever ran before in this process."""
    forkserver._forkserver._stop()
    yield
    forkserver._forkserver._stop()


@pytest.mark.parametrize("method", ["spawn", EARNEST])
def test_workers_as_they_are_started_in_earnest(tmp_path, monkeypatch, capfd, caplog, new_fork_server, method):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(fork_server, "START_METHOD", method)
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    study = run_study(pool(tmp_path, partial(noted, seconds=0.1), trials=6))
    check_nothing_lost_or_doubled(study, 6)
    assert len(study.trials) == 6
    assert study.user_attrs["stop_reason"] == "all 6 trials are finished"
    assert {t.user_attrs[OWNER]["worker"].split("-")[0] for t in study.trials} <= {"w1", "w2"}
    assert (tmp_path / "toy" / "best.json").is_file()
    assert progress(tmp_path / "toy").states == {"complete": 6}
    assert {name: os.environ.get(name) for name in before} == before
    assert "starting 2 workers" in caplog.text
    said = capfd.readouterr().err
    assert all(f" {name} ready for trials of study toy" in said for name in ("w1", "w2")), said


def test_a_killed_worker_is_replaced_and_its_trial_goes_on_once(tmp_path, caplog):
    study = run_study(pool(tmp_path, partial(noted, act=die), trials=4))
    check_nothing_lost_or_doubled(study, 4)
    (lost,) = [trial for trial in study.trials if trial.state == FAIL]
    assert lost.user_attrs["fail_reason"] == ownership.LOST
    done = [(trial, int(epoch)) for _, trial, epoch in epochs(tmp_path)]
    assert len(done) == 4 * 8, "the epoch at whose end the process died was saved: none is trained twice"
    assert "exit code -9" in caplog.text
    assert len({pid for pid, *_ in epochs(tmp_path)}) == 3


def test_the_sum_of_epochs_is_exact_over_all_workers(tmp_path):
    limit = 21
    study = run_study(pool(tmp_path, noted, 4, trials=9, budget={"max_total_epochs": limit}))
    assert len(epochs(tmp_path)) == study_usage(study).epochs == limit
    assert RUNNING not in {trial.state for trial in study.trials}
    assert f"max_total_epochs {limit} reached" in study.user_attrs["stop_reason"]


def test_masters_that_begin_at_once_run_one_study_together(tmp_path):
    alone = spec(tmp_path, noted, trials=7, **NONE)
    masters = [partial(run_study, asked) for asked in (alone, alone, replace(alone, pool=WorkerPool(2)))]
    assert together(*masters) == [0, 0, 0]
    study = load_study(tmp_path / "toy")
    check_nothing_lost_or_doubled(study, 7)
    assert len(study.trials) == 7
    assert len(epochs(tmp_path)) == 7 * 8
    assert len({pid for pid, *_ in epochs(tmp_path)}) > 1


def test_a_trial_that_kills_its_workers_is_given_up_and_the_study_goes_on(tmp_path, caplog):
    study = run_study(pool(tmp_path, deadly, trials=4))
    assert len(finished(study)) == 4
    failed = [trial for trial in study.trials if trial.state == FAIL]
    assert len(failed) == 3
    assert len({trial.params["lr"] for trial in failed}) == 1
    assert failed[-1].user_attrs["fail_reason"].startswith("3 processes in a row ended in the middle")


def test_workers_that_all_die_stop_the_study(tmp_path):
    def broken(config, run_dir, hooks, resume):
        die()

    with pytest.raises(RuntimeError, match=r"failed in a row|workers ended in a row and no epoch was trained"):
        run_study(pool(tmp_path, broken, trials=4))
    study = load_study(tmp_path / "toy")
    assert RUNNING not in {trial.state for trial in study.trials}
    assert not finished(study)


def test_bad_input_of_one_worker_stops_all(tmp_path):
    with pytest.raises(DataError, match="file is damaged"):
        run_study(pool(tmp_path, partial(noted, seconds=0.1, act=fail), trials=9))
    study = load_study(tmp_path / "toy")
    assert study.user_attrs["stop_reason"] == "file is damaged"
    assert RUNNING not in {trial.state for trial in study.trials}
    (tmp_path / "epochs.txt").unlink()
    rest = 9 * 8 - study_usage(study).epochs
    done = run_study(pool(tmp_path, noted, trials=9))
    check_nothing_lost_or_doubled(done, 9)
    assert rest - 1 <= len(epochs(tmp_path)) <= rest, "the epoch after which the error came is on disk"


def test_failures_in_a_row_count_over_all_workers(tmp_path):
    def broken(config, run_dir, hooks, resume):
        raise ZeroDivisionError("broken model")

    with pytest.raises(RuntimeError, match=r"[34] trials failed in a row.*broken model"):
        run_study(pool(tmp_path, broken, trials=30))
    study = load_study(tmp_path / "toy")
    assert 3 <= len(study.trials) <= 4, "the other worker may have begun one"
    assert len(failures_in_a_row(study, set())) == len(study.trials)
    assert failures_in_a_row(study, {trial.number for trial in study.trials}) == []


@pytest.mark.parametrize("how", ["timeout", "stop"])
def test_the_masters_clock_and_requests_to_stop_end_all_workers(tmp_path, how):
    act = partial(stop, tmp_path / "toy") if how == "stop" else None
    asked = pool(tmp_path, partial(noted, seconds=0.1, act=act), trials=40)
    study = run_study(replace(asked, timeout=2.0 if how == "timeout" else None))
    states = [trial.state for trial in study.trials]
    begun = [state for state in states if state != WAITING]  # none, where two seconds are over before a worker is there
    waiting = states.count(WAITING) - (0 if begun else 1)  # the baseline
    assert waiting == states.count(FAIL) <= 2  # what was at work is queued again
    assert RUNNING not in states
    assert len(finished(study)) < 40
    wanted = "timeout of 2 s reached" if how == "timeout" else "stopped on request"
    assert study.user_attrs["stop_reason"].startswith(wanted)
    again = run_study(spec(tmp_path, noted, trials=1 + len(finished(study)), **NONE))
    assert again.user_attrs["stop_reason"].endswith("finished"), "an old request counted again"


SUPERVISOR = """
import signal, sys
from dataclasses import replace
from functools import partial
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from study_support import run_study, spec
from worker_support import NONE, noted
from helpers import WorkerPool
from helpers.study.workers import fork_server
fork_server.START_METHOD = "fork"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored
run_study(replace(spec(Path({out!r}), partial(noted, seconds=0.3), trials=40, **NONE), pool=WorkerPool(2)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_master_ends_its_workers_in_a_state_that_goes_on(tmp_path, repo_root, number):
    code = SUPERVISOR.format(root=str(repo_root), tests=str(repo_root / "tests" / "support"), out=str(tmp_path))
    master = subprocess.Popen([sys.executable, "-c", code], cwd=repo_root, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(epochs(tmp_path)) < 4:
        assert time.monotonic() < deadline
        assert master.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(master.pid).children(recursive=True)
    assert len(workers) == 2
    master.send_signal(number)
    master.wait(60)
    _, alive = psutil.wait_procs(workers, 60)
    assert not alive
    study = load_study(tmp_path / "toy")
    assert {trial.state for trial in study.trials} <= {COMPLETE, FAIL, WAITING}
    assert WAITING in {trial.state for trial in study.trials}
    before = {trial.number: trial.value for trial in finished(study)}
    done = run_study(spec(tmp_path, noted, trials=2 + len(before), **NONE))
    check_nothing_lost_or_doubled(done, 2 + len(before))
    assert {number: done.trials[number].value for number in before} == before
    # An epoch per worker may be trained twice, or have been saved just before it could be noted.
    assert abs(len(epochs(tmp_path)) - 8 * len(finished(done))) <= 2


def test_one_process_waits_for_the_trials_of_another_and_takes_over_what_it_leaves(tmp_path):
    """A process that finds every place taken does not run one too many, and does not leave while one may come free."""
    study = run_study(spec(tmp_path, noted, trials=1, **NONE))
    held = FORK.Event()
    release = FORK.Event()

    def holder():
        with claimed(study.ask()):
            held.set()
            release.wait(60)

    other = FORK.Process(target=holder)
    other.start()
    assert held.wait(30)
    threading.Timer(1.0, release.set).start()
    begun = time.monotonic()
    done = run_study(spec(tmp_path, noted, trials=2, **NONE))
    assert time.monotonic() - begun >= 0.9
    other.join()
    assert [trial.state for trial in done.trials] == [COMPLETE, FAIL, COMPLETE]


def test_each_worker_gets_its_own_gpu_and_share_of_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(local_backend, "resolve_device", lambda device: local_backend.torch.device("cuda"))
    monkeypatch.setattr(local_backend.torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    seen = FORK.SimpleQueue()
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TQDM_DISABLE")
    monkeypatch.setattr(local_backend, "_main", lambda *_: seen.put([os.environ[name] for name in names]))
    backend = LocalBackend(spec(tmp_path).config, WorkerPlan(3))
    for place in range(3):
        backend.start(replace(spec(tmp_path), worker=f"w{place}"), place)
    ended = []
    while len(ended) < 3:
        ended += backend.wait(10)
    assert sorted(seen.get() for _ in range(3)) == [["2", "2", "1"], ["2", "2", "1"], ["5", "2", "1"]]
    assert all("exit code 0" in end.death for end in ended)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"


@pytest.mark.parametrize(("workers", "device", "ahead"), [
    (2, "auto", True), (None, "cpu", True), (1, "auto", False), (None, "cuda", False),
])  # fmt: skip
def test_the_imports_of_workers_run_beside_those_of_the_study(tmp_path, monkeypatch, workers, device, ahead):
    monkeypatch.setattr(fork_server, "START_METHOD", "forkserver")
    monkeypatch.setattr(fork_server, "available_cores", lambda: 2)
    monkeypatch.setattr(fork_server, "gpus", list)
    order = []
    monkeypatch.setattr(fork_server.forkserver, "ensure_running", lambda: order.append("imports"))

    def refuse(*_):
        order.append("study")
        raise ConfigError("no")

    monkeypatch.setattr(run, "run_study", refuse)
    asked = pool(tmp_path, noted, workers)
    training = asked.config.training.model_copy(update={"device": device})
    with pytest.raises(ConfigError):
        helpers.run(replace(asked, config=asked.config.model_copy(update={"training": training})))
    assert order == (["imports", "study"] if ahead else ["study"])


def test_the_imports_begin_before_torch_is_loaded(repo_root):
    code = "import sys; import helpers.study.workers.fork_server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root).returncode == 0

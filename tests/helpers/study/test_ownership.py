"""Whose a trial is: processes that live and die, here and on other machines, and the lock between them."""

import signal
import socket
import subprocess
import sys
import time

import optuna
import psutil
from study_support import fake_train, run_study, spec
from worker_support import COMPLETE, FAIL, NONE, RUNNING, WAITING, check_nothing_lost_or_doubled, die, together

from helpers.results.attributes import BEAT, OWNER
from helpers.storage.backends import open_storage
from helpers.storage.locks import study_lock
from helpers.study import heartbeat as ownership
from helpers.study.heartbeat import claimed, current_owner, is_alive, requeue_lost


def test_trial_of_a_live_process_is_left_alone(tmp_path):
    study = run_study(spec(tmp_path, trials=1))
    trial = study.ask()
    trial.set_user_attr(OWNER, current_owner())
    assert requeue_lost(study) == []
    assert study.trials[-1].state == RUNNING


def test_a_killed_child_that_nobody_collected_is_dead():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    seen = psutil.Process(process.pid)
    owner = {"host": socket.gethostname(), "pid": process.pid, "started": seen.create_time()}
    assert is_alive(owner)
    process.kill()
    deadline = time.monotonic() + 10
    while seen.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(owner)
    process.wait()
    assert not is_alive(owner)


def test_another_machines_trial_is_taken_over_when_it_stops_counting(tmp_path, monkeypatch):
    study = run_study(spec(tmp_path, trials=1))
    trial = study.ask()
    trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    trial.set_user_attr(OWNER, {"host": "elsewhere", "pid": 1, "started": 0.0, "token": "t", "worker": "w9"})
    clock = [1000.0]
    monkeypatch.setattr(ownership.time, "monotonic", lambda: clock[0])
    for beat in (None, 1, 2):
        if beat is not None:
            trial.set_user_attr(BEAT, beat)
        assert requeue_lost(study) == []
        clock[0] += ownership.GRACE - 1
    assert requeue_lost(study) == []
    assert requeue_lost(study, dead={"w8"}) == []
    clock[0] += 2
    assert requeue_lost(study) == [1]
    assert requeue_lost(study) == []
    assert [t.state for t in study.trials] == [COMPLETE, FAIL, WAITING]


def test_a_live_owner_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "BEAT_SECONDS", 0.02)
    study = run_study(spec(tmp_path, trials=1))
    trial = study.ask()
    with claimed(trial):
        deadline = time.monotonic() + 20
        while study.trials[1].user_attrs.get(BEAT, 0) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_process_that_was_held_for_dead_drops_its_trial_and_works_on(tmp_path):
    """As a machine that was suspended longer than the others waited: its results do not count twice."""

    def train(config, run_dir, hooks, resume):
        if run_dir.name == "trial_0001":
            study = optuna.load_study(study_name="toy", storage=open_storage(None, tmp_path / "toy"))
            ownership.requeue(study, study.trials[1], ownership.LOST)
        return fake_train(config, run_dir, hooks, resume)

    study = run_study(spec(tmp_path, train, trials=3, **NONE))
    check_nothing_lost_or_doubled(study, 3)
    assert [trial.state for trial in study.trials] == [COMPLETE, FAIL, COMPLETE, COMPLETE]
    assert study.trials[2].user_attrs["resume_of"] == 1


def test_only_one_process_is_in_the_lock_and_a_dead_one_leaves_it(tmp_path):
    study = run_study(spec(tmp_path, trials=1))
    folder = tmp_path / "toy"
    log = tmp_path / "log.txt"

    def visit():
        for _ in range(5):
            with study_lock(study, folder), study_lock(study, folder):  # it may be nested
                with log.open("a") as stream:
                    stream.write("in\n")
                time.sleep(0.01)
                with log.open("a") as stream:
                    stream.write("out\n")

    assert together(visit, visit, visit) == [0, 0, 0]
    assert log.read_text().split() == ["in", "out"] * 15

    def killed():
        with study_lock(study, folder):
            die()

    assert together(killed) == [-signal.SIGKILL]
    with study_lock(study, folder):
        pass

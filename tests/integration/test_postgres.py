"""Studies on a real PostgreSQL server: several workers, deaths, restarts, outages."""

import multiprocessing
import os
import threading
import time
from dataclasses import replace
from functools import partial

import optuna
import pytest
import sqlalchemy
from study_support import run_study, spec
from worker_support import NONE, RUNNING, check_nothing_lost_or_doubled, die, epochs, finished, noted

from benchmarks.study.postgres_server import Server, programs
from helpers import WorkerPool, load_study, progress
from helpers.storage import retry as storage_retry
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.locks import study_lock
from helpers.study.stop import study_usage
from helpers.study.workers import fork_server

OUTAGE = float(os.environ.get("GAZEGAUSSIAN_OUTAGE", "1.5"))  # seconds; CI has no minute to spare
FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL's server is not installed")


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    monkeypatch.setattr(fork_server, "START_METHOD", "fork")
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def url(server, tmp_path):
    """A database of the test's own: all of them name their study `toy`."""
    return server.new_database(f"d{abs(hash(tmp_path.name))}")


def on(url, tmp_path, train=noted, workers=None, **changes):
    asked = spec(tmp_path, train, **{**NONE, **changes})
    return replace(asked, storage=url, pool=None if workers is None else WorkerPool(workers))


def test_workers_share_a_study_exactly_and_a_killed_one_is_replaced(tmp_path, url):
    limit = 6 * 8 - 3
    study = run_study(on(url, tmp_path, partial(noted, act=die), 3, trials=6, budget={"max_total_epochs": limit}))
    # The epoch at whose end the process was killed is on disk; the one that goes on inherits it.
    assert limit <= len(epochs(tmp_path)) <= limit + 1
    assert study_usage(study).epochs <= limit
    done = run_study(on(url, tmp_path, workers=2, trials=6))
    check_nothing_lost_or_doubled(done, 6)
    assert len(epochs(tmp_path)) == 6 * 8
    assert progress(tmp_path / "toy", url).finished == 6


def outage(server, tmp_path, after, seconds):
    """Stop the server once some epochs are trained, and start it again."""

    def run():
        deadline = time.monotonic() + 60
        while len(epochs(tmp_path)) < after and time.monotonic() < deadline:
            time.sleep(0.02)
        server.stop()
        time.sleep(seconds)
        server.start()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_restart_in_mid_study_costs_nothing(tmp_path, server, url, caplog):
    restart = outage(server, tmp_path, after=10, seconds=OUTAGE)
    study = run_study(on(url, tmp_path, partial(noted, seconds=0.05), 2, trials=6))
    restart.join()
    check_nothing_lost_or_doubled(study, 6)
    assert len(epochs(tmp_path)) == 6 * 8
    assert len(study.trials) == 6, "no trial was interrupted"


def test_a_server_that_stays_away_ends_the_study_and_the_same_call_goes_on(tmp_path, server, url, monkeypatch):
    monkeypatch.setattr(storage_retry, "RETRY_TIMEOUT", 1.0)
    restart = outage(server, tmp_path, after=20, seconds=8)
    with pytest.raises(StorageError, match="does not answer") as error:
        run_study(on(url, tmp_path, partial(noted, seconds=0.05), trials=6))
    assert "\n" not in str(error.value)
    restart.join()
    study = load_study(tmp_path / "toy", url)
    assert len(finished(study)) >= 2
    done = run_study(on(url, tmp_path, trials=6))
    check_nothing_lost_or_doubled(done, 6)
    assert len(epochs(tmp_path)) == 6 * 8
    assert [t.value for t in finished(study)] == [done.trials[t.number].value for t in finished(study)]


def test_the_lock_of_a_study_is_the_servers_and_goes_with_the_process(tmp_path, url):
    study = optuna.create_study(study_name="toy", storage=open_storage(url, tmp_path))
    inside = FORK.Event()
    release = FORK.Event()

    def holder():
        study = optuna.load_study(study_name="toy", storage=open_storage(url, tmp_path))
        with study_lock(study, tmp_path):
            inside.set()
            release.wait(60)
            die()

    process = FORK.Process(target=holder)
    process.start()
    assert inside.wait(30)
    begun = time.monotonic()
    threading.Timer(0.7, release.set).start()
    with study_lock(study, tmp_path), study_lock(study, tmp_path):
        assert time.monotonic() - begun >= 0.6
        assert study.ask().number == 0, "the storage is used under the lock"
    process.join()
    assert not list(tmp_path.glob("*.lock"))


def test_an_answer_that_is_lost_after_the_commit_counts_once(tmp_path, server, url, monkeypatch):
    study = optuna.create_study(study_name="toy", storage=open_storage(url, tmp_path))
    trial = study.ask()
    real = optuna.storages.RDBStorage.set_trial_state_values
    lost = []

    def cut(self, *args, **kwargs):
        answer = real(self, *args, **kwargs)
        if not lost:
            lost.append(1)
            raise storage_retry.Unreachable("the answer was lost")
        return answer

    patched = storage_retry._retried("set_trial_state_values", cut)
    monkeypatch.setattr(storage_retry.Database, "set_trial_state_values", patched)
    study.tell(trial, 0.5)
    assert lost
    assert [(t.state.name, t.value) for t in study.trials] == [("COMPLETE", 0.5)]
    with pytest.raises(RuntimeError):
        study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    assert RUNNING not in {t.state for t in study.trials}


def test_a_reader_makes_no_tables(tmp_path, url):
    engine = sqlalchemy.create_engine(url)
    with pytest.raises(StorageError, match="holds no study yet"):
        open_storage(url, tmp_path / "toy", must_exist=True)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    run_study(on(url, tmp_path, trials=1))
    (tmp_path / "toy").mkdir(exist_ok=True)
    assert len(load_study(tmp_path / "toy", url).trials) == 1
    engine.dispose()

"""Stores of studies: what a URL means, secrets, servers, several processes at once."""

import multiprocessing
import os
import pickle
import signal
import socket
import sys
from concurrent import futures
from contextlib import closing
from urllib.parse import unquote

import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import TrialState
from storage_support import add_trial, content, one_line, open_study

from gazegaussian.errors import ConfigError, UserError
from helpers.storage import backends as storage
from helpers.storage import locks
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError, redacted

FORK = multiprocessing.get_context("fork")
SECRET = "s3:cr/t@#x"

pytestmark = pytest.mark.usefixtures("quiet_storage")

# --- what a URL means


def test_without_url_the_study_is_in_its_folder(tmp_path):
    folder = tmp_path / "new" / "toy"
    add_trial(open_study(None, folder))
    assert (folder / "study.db").is_file()
    assert [p.name for p in folder.iterdir()] == ["study.db"], "a copied folder would lack the newest trials"
    assert len(content(f"sqlite:///{folder}/study.db", tmp_path)) == 1


@pytest.mark.parametrize("spelling", ["{p}.journal", "{p}.log", "journal:///{p}", "journal:///relative"])
def test_every_spelling_of_a_journal_is_a_journal(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    store = open_storage(spelling.format(p=tmp_path / "study"), tmp_path)
    assert isinstance(store, JournalStorage)
    assert [p.parent for p in tmp_path.glob("*")] == [tmp_path]
    assert len(list(tmp_path.glob("*"))) == 1


def test_braces_in_a_path_are_no_template(tmp_path):
    folder = tmp_path / "a{b}"
    add_trial(open_study(None, folder))
    assert (folder / "study.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        ("redis://host", "Unknown storage"),
        ("study.db", "sqlite:///FILE"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("grpc://host", "grpc://HOST:PORT"),
        ("grpc://host:x1", "grpc://HOST:PORT"),
        ("postgresql+nosuch://u@h/db", "no driver of postgresql"),
        ("postgresql://u:p@h:port/db", "cannot be read as a URL"),
        ("postgresql://u:one@two@h/db", "percent-encode"),
    ],
)
def test_a_url_that_cannot_be_is_refused_with_what_can(tmp_path, bad, part):
    with pytest.raises(ConfigError) as error:
        open_storage(bad, tmp_path)
    assert part in one_line(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["sqlite:///{f}/no/s.db", "{f}/no/s.journal", "journal:///{f}/no/s"])
def test_a_missing_folder_is_named(tmp_path, missing):
    with pytest.raises(StorageError, match="does not exist") as error:
        open_storage(missing.format(f=tmp_path), tmp_path)
    assert str(tmp_path / "no") in one_line(error)


def test_readers_begin_no_new_store(tmp_path, url):
    for wanted in (url, None):
        with pytest.raises(StorageError, match="no study in"):
            open_storage(wanted, tmp_path, must_exist=True)
    assert not list(tmp_path.iterdir())
    add_trial(open_study(url, tmp_path))
    assert open_storage(url, tmp_path, must_exist=True).get_all_studies()[0].study_name == "toy"


# --- servers: the URL only, no server here


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"postgresql+psycopg://me:{SECRET}@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("mysql://me:p%40ss@host/db?ssl_password=abc&x=1", "mysql://me:***@host/db?ssl_password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////home/a:b@c/study.db", "sqlite:////home/a:b@c/study.db"),
        ("grpc://host:13000", "grpc://host:13000"),
    ],
)
def test_passwords_are_hidden_and_nothing_else(given, shown):
    assert redacted(given) == shown


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql", "postgresql+nosuch", "oracle", "grpc"])
@pytest.mark.parametrize("password", [SECRET, "p%40ssword", "{braces}"])
def test_no_message_shows_a_password(tmp_path, monkeypatch, scheme, password):
    def reject(url, **options):
        raise RuntimeError(f"cannot reach {url}: password {password} ({unquote(password)}) is wrong")

    monkeypatch.setattr(storage, "Database", reject)
    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.import_dbapi", classmethod(lambda cls: None))
    with pytest.raises(UserError) as error:
        open_storage(f"{scheme}://me:{password}@localhost:1/db", tmp_path)
    text = one_line(error) + repr(error.value.__cause__)
    for part in (password, unquote(password), "cr/t"):
        assert part not in text


@pytest.mark.parametrize(
    ("given", "module", "pip"),
    [
        ("postgresql://u:pw@h/db", "psycopg", "pip install 'psycopg[binary]'"),
        ("mysql+pymysql://u:pw@h/db", "pymysql", "pip install 'pymysql'"),
        ("grpc://localhost:1", "grpc", "pip install grpcio"),
    ],
)
def test_a_missing_driver_is_named_with_its_package(tmp_path, monkeypatch, given, module, pip):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "helpers.storage.grpc_proxy", raising=False)
    with pytest.raises(ConfigError) as error:
        open_storage(given, tmp_path)
    assert pip in one_line(error)


@pytest.mark.parametrize(
    ("given", "opened"),
    [("postgresql://u@h/db", "postgresql+psycopg://u@h/db"), ("mysql+mysqldb://u@h/db", "mysql+mysqldb://u@h/db")],
)
def test_servers_get_one_checked_connection_per_worker(tmp_path, monkeypatch, given, opened):
    asked = []

    def record(url, engine_kwargs):
        asked.append((url, engine_kwargs))
        return RDBStorage(f"sqlite:///{tmp_path}/stand_in.db")

    monkeypatch.setattr(storage, "Database", record)
    for dialect in ("psycopg.PGDialect_psycopg", "mysqldb.MySQLDialect_mysqldb"):
        family = "postgresql" if "PG" in dialect else "mysql"
        monkeypatch.setattr(f"sqlalchemy.dialects.{family}.{dialect}.import_dbapi", classmethod(lambda cls: None))
    open_storage(given, tmp_path)
    ((url, options),) = asked
    assert url == opened
    assert (options["pool_size"], options["pool_pre_ping"]) == (1, True)


def free_port():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_grpc_proxy_serves_and_its_absence_is_clear(tmp_path, monkeypatch):
    grpc = pytest.importorskip("grpc")
    from optuna.storages._grpc.server import make_server

    from helpers.storage import grpc_proxy

    monkeypatch.setattr(storage, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(grpc_proxy, "RETRY_TIMEOUT", 0.5)
    port = free_port()
    with pytest.raises(StorageError, match="No gRPC storage proxy answers"):
        open_storage(f"grpc://127.0.0.1:{port}", tmp_path)
    monkeypatch.setattr(storage, "ANSWER_SECONDS", 5)
    server = make_server(open_storage(None, tmp_path), "127.0.0.1", port, futures.ThreadPoolExecutor(2))
    server.start()
    study = open_study(f"grpc://127.0.0.1:{port}", tmp_path)
    assert isinstance(study._storage, pickle.loads(pickle.dumps(study._storage)).__class__)
    add_trial(study)
    server.stop(0).wait()
    with pytest.raises(StorageError, match="it confirmed is stored") as error:
        study.ask()
    one_line(error)
    assert grpc.StatusCode.UNAVAILABLE in grpc_proxy._FAILURES
    assert len(content(None, tmp_path)) == 1


# --- several processes


def work(url, folder, count, told):
    study = open_study(url, folder)  # both create file, tables and study at once
    for _ in range(count):
        told.put((os.getpid(), add_trial(study)))


def test_two_processes_write_one_study_at_once(tmp_path, url):
    told = FORK.Queue()
    workers = [FORK.Process(target=work, args=(url, tmp_path, 8, told)) for _ in range(2)]
    for worker in workers:
        worker.start()
    numbers = [told.get(timeout=30) for _ in range(16)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(number for _, number in numbers) == list(range(16))
    assert len({pid for pid, _ in numbers}) == 2
    trials = content(url, tmp_path)
    assert len(trials) == 16
    for _, state, values, params, curve in trials:
        assert state == TrialState.COMPLETE
        assert values == [params["x"]]
        assert curve == {0: params["x"], 1: params["x"] + 1}


def test_a_kill_loses_no_told_trial(tmp_path, url):
    told = FORK.Queue()
    worker = FORK.Process(target=work, args=(url, tmp_path, 10_000, told))
    worker.start()
    numbers = [told.get(timeout=30)[1] for _ in range(3)]
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    finished = {number for number, state, *_ in content(url, tmp_path) if state == TrialState.COMPLETE}
    assert finished >= set(numbers)
    assert add_trial(open_study(url, tmp_path)) > max(numbers)


def test_writers_of_a_journal_wait_for_each_other(tmp_path):
    path = tmp_path / "study.journal"
    study = open_study(str(path), tmp_path)
    before = path.read_bytes()
    with futures.ThreadPoolExecutor(1) as pool:
        with locks.file_lock(locks.lock_of(path)):
            written = pool.submit(add_trial, study)
            with pytest.raises(futures.TimeoutError):
                written.result(timeout=0.1)
            assert path.read_bytes() == before
        assert written.result(timeout=10) == 0
    assert len(content(str(path), tmp_path)) == 1

"""Stores of studies: URLs, secrets, locked, read-only, full and damaged files, several processes at once."""

import ctypes
import json
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import sqlite3
import sys
from concurrent import futures
from contextlib import closing, contextmanager
from urllib.parse import unquote

import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import TrialState

from gazegaussian.errors import ConfigError, UserError
from helpers import journal, snapshots, storage
from helpers.storage import open_storage
from helpers.storage_errors import StorageError, redacted

FORK = multiprocessing.get_context("fork")
FILES = ["sqlite:///{folder}/study.db", "{folder}/study.journal"]
SECRET = "s3:cr/t@#x"


@pytest.fixture(params=FILES, ids=["sqlite", "journal"])
def url(request, tmp_path):
    return request.param.format(folder=tmp_path)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(journal, "LOCK_GRACE", 3)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(url, folder, name="toy"):
    return optuna.create_study(
        study_name=name, storage=open_storage(url, folder), load_if_exists=True, pruner=optuna.pruners.NopPruner()
    )


def add_trial(study, reports=2):
    trial = study.ask()
    x = trial.suggest_float("x", 0, 1)
    for step in range(reports):
        trial.report(x + step, step)
    study.tell(trial, x)
    return trial.number


def content(url, folder):
    """What a fresh process would read."""
    trials = open_study(url, folder).trials
    return [(t.number, t.state, t.values, t.params, t.intermediate_values) for t in trials]


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


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
    def refuse(url, **options):
        raise RuntimeError(f"cannot reach {url}: password {password} ({unquote(password)}) is wrong")

    monkeypatch.setattr(storage, "Database", refuse)
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
    monkeypatch.delitem(sys.modules, "helpers.storage_proxy", raising=False)
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

    from helpers import storage_proxy

    monkeypatch.setattr(storage, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(storage_proxy, "PATIENCE", 0.5)
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
    assert grpc.StatusCode.UNAVAILABLE in storage_proxy._FAILURES
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
        with journal.file_lock(journal.lock_of(path)):
            written = pool.submit(add_trial, study)
            with pytest.raises(futures.TimeoutError):
                written.result(timeout=0.1)
            assert path.read_bytes() == before
        assert written.result(timeout=10) == 0
    assert len(content(str(path), tmp_path)) == 1


# --- torn journals


TORN = [b'{"op_code":5,"worker_id":"a', b"\0" * 700, b'{"op_code":5\0\0\0', b"{}"]
# Lines that are no record come from power cuts, which no open study survives.
AT_START = [*TORN, b"\0\0\n", b'{"op_code":\n\0\0']


@pytest.mark.parametrize(("torn", "opened_before"), [(t, False) for t in AT_START] + [(t, True) for t in TORN])
def test_a_torn_end_is_cut_off_and_kept(tmp_path, caplog, torn, opened_before):
    path = tmp_path / "study.journal"
    study = open_study(str(path), tmp_path)
    add_trial(study)
    whole = path.read_bytes()
    with path.open("ab") as stream:
        stream.write(torn)
    if not opened_before:
        study = open_study(str(path), tmp_path)
    assert add_trial(study) == 1
    (kept,) = tmp_path.glob("study.journal.torn-*")
    assert kept.read_bytes() == torn
    assert str(kept) in caplog.text
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["op_code"] for line in path.read_bytes().splitlines()]
    assert len(content(str(path), tmp_path)) == 2
    assert not list(tmp_path.glob("*.lock*"))


def test_a_whole_journal_is_left_alone(tmp_path):
    path = tmp_path / "study.journal"
    add_trial(open_study(str(path), tmp_path))
    before = path.read_bytes()
    assert len(open_study(str(path), tmp_path).trials) == 1
    assert path.read_bytes()[: len(before)] == before
    assert [p.name for p in tmp_path.iterdir()] == ["study.journal"]


def test_damage_in_the_middle_of_a_journal_is_told_and_left(tmp_path):
    path = tmp_path / "study.journal"
    add_trial(open_study(str(path), tmp_path))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b'{"op_co\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(StorageError, match="damaged in the middle") as error:
        open_storage(str(path), tmp_path)
    one_line(error)
    assert path.read_bytes() == b"".join(lines)


# --- locked, damaged, read-only, full


def test_a_locked_database_is_named_and_later_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "BUSY_SECONDS", 0.05)
    study = open_study(None, tmp_path)
    add_trial(study)
    with closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked by another program") as at_start:
            open_storage(None, tmp_path)
        with pytest.raises(StorageError, match="locked by another program") as in_study:
            study.set_user_attr("a", 1)
        assert str(tmp_path / "study.db") in one_line(at_start)
        assert str(tmp_path / "study.db") in one_line(in_study)
    assert add_trial(study) == 1, "the same open study goes on"


@pytest.mark.parametrize("damage", ["noise", "header", "truncated"])
def test_a_damaged_database_is_told_and_left(tmp_path, damage):
    study = open_study(None, tmp_path)
    for _ in range(3):
        add_trial(study)
    path = tmp_path / "study.db"
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "noise": whole[:4096] + b"\xa5" * 8192 + whole[12288:],
        "header": b"no database at all" + whole[18:],
        "truncated": whole[:middle],
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(StorageError, match="damaged") as error:
        open_storage(None, tmp_path)
    assert str(path) in one_line(error)
    assert path.read_bytes() == broken


def test_tables_of_another_optuna_are_told(tmp_path):
    open_study(None, tmp_path)
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
        connection.commit()
    with pytest.raises(StorageError, match="optuna") as error:
        open_storage(None, tmp_path)
    one_line(error)


@contextmanager
def file_limit(size):
    """A disk that is full for files beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, url):
    study = open_study(url, tmp_path)
    add_trial(study)
    path = next(p for p in tmp_path.iterdir() if p.name.startswith("study."))
    before, size = content(url, tmp_path), path.stat().st_size
    note = ["x" * 2000] * 10  # more than the free bytes of the last page
    with file_limit(size + 40), pytest.raises(StorageError, match="full") as error:
        study.set_user_attr("note", note)
    assert str(path) in one_line(error)
    assert content(url, tmp_path) == before, "what was stored is still there"
    assert not list(tmp_path.glob("*.torn-*")), "a refused append leaves no half record"
    add_trial(study)
    assert len(content(url, tmp_path)) == len(before) + 1


@contextmanager
def permissions_count():
    """Make file permissions bind root too, in this thread."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, data) == 0
    effective = data[0]
    data[0] = effective & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = effective
        assert libc.capset(header, data) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_read_only_store_can_be_read_and_says_so_when_written(tmp_path, url):
    add_trial(open_study(url, tmp_path))
    path = next(p for p in tmp_path.iterdir() if p.name.startswith("study."))
    before = content(url, tmp_path)
    whole = path.read_bytes()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with permissions_count():
            study = optuna.load_study(study_name="toy", storage=open_storage(url, tmp_path, must_exist=True))
            assert len(study.trials) == len(before)
            with pytest.raises(StorageError, match="read-only") as error:
                study.ask()
            with pytest.raises(StorageError):
                open_storage(f"{tmp_path}/other.journal", tmp_path)
            with pytest.raises(StorageError, match="cannot be made"):
                open_storage(None, tmp_path / "new")
    finally:
        tmp_path.chmod(0o755)
    assert str(path) in one_line(error)
    assert path.read_bytes() == whole

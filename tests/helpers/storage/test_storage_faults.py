"""Stores of studies in trouble: torn, locked, damaged, full, read-only."""

import json
import resource
import sqlite3
import sys
from contextlib import closing, contextmanager

import optuna
import pytest
from storage_faults_support import permissions_count
from storage_support import add_trial, content, one_line, open_study

from helpers.storage import sqlite_snapshots as snapshots
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError

pytestmark = pytest.mark.usefixtures("quiet_storage")

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


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE trial_params SET distribution_json = \'{"name": "Float\'',
        "UPDATE trials SET state = 'RUNING'",
        "UPDATE trials SET datetime_start = 'yesterday'",
        "UPDATE trial_params SET distribution_json = CAST(x'7bff' AS TEXT)",
    ],
)
def test_rows_of_a_whole_database_that_mean_nothing_are_told(tmp_path, damage):
    add_trial(open_study(None, tmp_path))
    with closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute(damage)
    with pytest.raises(StorageError, match=r"holds records that no study writes .*it was left as it is") as error:
        content(None, tmp_path)
    one_line(error)


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
    before = content(url, tmp_path)
    size = path.stat().st_size
    note = ["x" * 2000] * 10  # more than the free bytes of the last page
    with file_limit(size + 40), pytest.raises(StorageError, match="full") as error:
        study.set_user_attr("note", note)
    assert str(path) in one_line(error)
    assert content(url, tmp_path) == before, "what was stored is still there"
    assert not list(tmp_path.glob("*.torn-*")), "a rejected append leaves no half record"
    add_trial(study)
    assert len(content(url, tmp_path)) == len(before) + 1


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

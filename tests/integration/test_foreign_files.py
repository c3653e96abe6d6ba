"""Nobody else's file is touched: stores of other programs, links and pipes in received folders, what lies in a named folder."""

import json
import os
import shutil
import sqlite3
import time
import zipfile
from contextlib import closing

import numpy as np
import optuna
import pytest
from foreign_support import TEXT, killed_while_writing, run_sql, snapshot, super_journal
from PIL import Image
from storage_support import add_trial, one_line, open_study
from study_support import fake_train, run_study, spec

from gazegaussian.errors import ConfigError, UserError
from gazegaussian.training.run_folder import TRACES
from gazegaussian.utils.image_grid import save_image
from gazegaussian.utils.own_output import require_own_output
from gazegaussian.utils.plain_files import find_special, open_plain
from helpers import load_study, stop
from helpers.api import _require_no_others
from helpers.inference.animation import write_animation
from helpers.inference.export_marks import is_own_archive, own_files, require_free
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.journal import Journal
from helpers.storage.location import LOCAL_STORE
from helpers.storage.locks import lock_of, study_lock
from helpers.storage.read_only import read_only_store
from helpers.storage.sqlite_files import reading_connection, require_own_sidecars
from helpers.storage.sqlite_snapshots import Snapshots
from helpers.storage.training_lock import sole_training
from helpers.study.stop import LONGEST_REASON, forget_stop, stop_requested
from helpers.utils.own_folder import OwnFolder

pytestmark = pytest.mark.usefixtures("quiet_storage")


def refused_and_left(folder, call, *parts, error=UserError):
    """The call costs one line that holds `parts`, and nothing under the folder is another afterwards."""
    before = snapshot(folder)
    with pytest.raises(error) as rejected:
        call()
    text = one_line(rejected)
    for part in parts:
        assert part in text
    assert snapshot(folder) == before
    return text


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished study; not to be changed."""
    out = tmp_path_factory.mktemp("finished")
    run_study(spec(out, fake_train, trials=2, epochs=2))
    return out / "toy"


@pytest.fixture
def study(finished, tmp_path):
    """A copy that a test may change, in a place of its own."""
    place = tmp_path / "studies" / "toy"
    place.mkdir(parents=True)
    for path in finished.rglob("*"):
        target = place / path.relative_to(finished)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(path.read_bytes())
    return place


# --- journals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "writing"])
@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        b"no line end",
        b"[1]\n",
        b"{}\n",
        b"\0" * 700,
        b'{"op_code":"x"}\n',
        b"\xff\xfe" * 99,
        b"[" * 99999 + b"\n",
    ],
)
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, reading, content):
    path = tmp_path / "app.log"
    path.write_bytes(content)
    for url in (str(path), f"journal:///{path}"):
        call = lambda url=url: open_storage(url, tmp_path / "toy", must_exist=reading)  # noqa: E731
        refused_and_left(tmp_path, call, str(path), "no journal of a study")


def test_a_torn_journal_is_read_up_to_its_last_record_and_stays(tmp_path):
    path = tmp_path / "study.journal"
    add_trial(open_study(str(path), tmp_path))
    for torn in (b'{"op_code":5,"worker', b"\0" * 700, b'{"op_code":\n\0\0', b"a line\nand one more\n"):
        good = path.read_bytes()
        path.write_bytes(good + torn)
        before = snapshot(tmp_path)
        opened = optuna.load_study(study_name="toy", storage=open_storage(str(path), tmp_path, must_exist=True))
        assert len(opened.trials) == 1
        with pytest.raises(StorageError, match="read-only"):
            opened.set_user_attr("a", 1)
        assert snapshot(tmp_path) == before
        path.write_bytes(good)


def test_a_reader_of_a_journal_sees_what_is_written_meanwhile(tmp_path):
    path = tmp_path / "study.journal"
    written = open_study(str(path), tmp_path)
    read = optuna.load_study(study_name="toy", storage=open_storage(str(path), tmp_path, must_exist=True))
    for count in (1, 2, 3):
        add_trial(written)
        assert len(read.trials) == count


def test_a_writer_cuts_one_torn_line_and_no_more(tmp_path):
    path = tmp_path / "study.journal"
    add_trial(open_study(str(path), tmp_path))
    with path.open("ab") as stream:
        stream.write(b"two lines that\nare no records\n")
    refused_and_left(tmp_path, lambda: open_storage(str(path), tmp_path), "2 lines that are no records")
    path.write_bytes(b'{"op_code":0,"worker_id":"a')  # killed within the very first record
    assert add_trial(open_study(str(path), tmp_path)) == 0


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "content", "folder"])
def test_what_is_no_lock_is_no_lock(tmp_path, kind):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "toy").mkdir()
    place = {
        "link": lambda path: path.symlink_to(victim),
        "dangling link": lambda path: path.symlink_to(tmp_path / "gone"),
        "pipe": os.mkfifo,
        "content": lambda path: path.write_text("somebody's notes"),
        "folder": lambda path: path.mkdir(),
    }[kind]
    study = optuna.create_study(study_name="toy")
    for path, call in (
        (tmp_path / "s.journal.lock", lambda: lock_of(tmp_path / "s.journal")),
        (tmp_path / "toy" / "study.lock", lambda: study_lock(study, tmp_path / "toy").__enter__()),
        (tmp_path / "toy" / ".lock", lambda: sole_training(tmp_path / "toy").__enter__()),
    ):
        place(path)
        refused_and_left(tmp_path, call, str(path))
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


# --- SQLite -------------------------------------------------------------------------------------------------------------


def reading(folder):
    return [
        lambda: load_study(folder).trials,
        lambda: read_only_store(folder),
        lambda: open_storage(f"sqlite:///{folder}/study.db", folder, must_exist=True),
    ]


def writing(folder):
    return [
        lambda: open_storage(None, folder),
        lambda: open_storage(f"sqlite:///{folder}/study.db", folder),
        lambda: Snapshots(folder / "study.db", folder.parent).restore(),
    ]


def test_a_file_that_a_journal_names_is_not_deleted(study, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    journal = super_journal(study / "study.db", victim)
    for call in (*reading(study), *writing(study)[:2]):
        refused_and_left(tmp_path, call, str(journal), "names another file")
    with closing(sqlite3.connect(study / "study.db")) as database:  # the case is one: SQLite itself deletes it
        database.execute("SELECT count(*) FROM trials").fetchone()
    assert not victim.exists()


def test_what_a_killed_writer_left_is_read_without_it_and_stays(study, tmp_path):
    killed_while_writing(study / "study.db", "UPDATE trials SET state = 'FAIL'")
    assert (study / "study.db-journal").stat().st_size
    before = snapshot(tmp_path)
    for _ in range(2):
        assert [trial.state.name for trial in load_study(study).trials] == ["COMPLETE", "COMPLETE"]
        assert len(read_only_store(study).get_all_studies()) == 1
    assert snapshot(tmp_path) == before
    written = optuna.load_study(study_name="toy", storage=open_storage(None, study))
    assert [trial.state.name for trial in written.trials] == ["COMPLETE", "COMPLETE"]
    assert not (study / "study.db-journal").exists(), "its writer has undone it"


def test_a_transaction_that_ends_while_it_is_looked_at_is_no_fault(study, tmp_path, monkeypatch):
    """Several processes open one database: the journal that one of them sees may be gone when it opens it."""
    killed_while_writing(study / "study.db", "UPDATE trials SET state = 'FAIL'")
    journal = study / "study.db-journal"

    def seen_and_gone(path):
        journal.unlink(missing_ok=True)
        return open_plain(path)

    monkeypatch.setattr("helpers.storage.sqlite_files.open_plain", seen_and_gone)
    require_own_sidecars(study / "study.db")
    assert not journal.exists()


def test_what_another_process_finishes_while_it_is_copied_is_read_again(study, tmp_path, monkeypatch):
    database = study / "study.db"
    killed_while_writing(database, "UPDATE trials SET state = 'FAIL'")
    real = shutil.copyfile
    copies = []

    def undone_meanwhile(source, target):
        if source.name.endswith("-journal"):
            run_sql(
                database, "UPDATE trials SET number = number"
            )  # a writer undoes what was left, and removes the journal
        copies.append(source.name)
        return real(source, target)

    monkeypatch.setattr("helpers.storage.sqlite_files.shutil.copyfile", undone_meanwhile)
    with closing(reading_connection(database)) as connection:
        assert connection.execute("SELECT DISTINCT state FROM trials").fetchall() == [("COMPLETE",)]
    assert copies == ["study.db", "study.db-journal"]


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_database_in_wal_mode_gets_no_files_beside_it(study, tmp_path, unfinished):
    run_sql(study / "study.db", "PRAGMA journal_mode = WAL")
    if unfinished:
        with closing(sqlite3.connect(study / "study.db")) as writer:
            writer.execute("UPDATE studies SET study_name = 'renamed'")
            writer.commit()
            content = {path: path.read_bytes() for path in study.glob("study.db*")}
        for path, one in content.items():
            path.write_bytes(one)
    before = snapshot(tmp_path)
    (stored,) = open_storage(None, study, must_exist=True).get_all_studies()
    assert stored.study_name == ("renamed" if unfinished else "toy")
    assert snapshot(tmp_path) == before


HOSTILE_SCHEMAS = {
    "a view": ["ALTER TABLE trial_values RENAME TO t", "CREATE VIEW trial_values AS SELECT * FROM t"],
    "an endless view": [
        "DROP TABLE version_info",
        "CREATE VIEW version_info AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS version_info_id, i AS "
        "schema_version, i AS library_version FROM n",
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM studies; END"],
    "a computed column": [
        "DROP TABLE trial_heartbeats",
        "CREATE TABLE trial_heartbeats(a, b AS (zeroblob(1000000000)))",
    ],
    "a computed index": ["CREATE INDEX i ON trials(length(hex(zeroblob(state))))"],
    "a virtual table": ["CREATE VIRTUAL TABLE notes USING fts5(x)"],
}


@pytest.mark.parametrize("statements", HOSTILE_SCHEMAS.values(), ids=HOSTILE_SCHEMAS.keys())
def test_what_runs_by_itself_is_refused_at_once(study, tmp_path, statements):
    run_sql(study / "study.db", *statements)
    started = time.thread_time()
    for call in (*reading(study), *writing(study)[:2]):
        refused_and_left(tmp_path, call, "which no study makes")
    assert time.thread_time() - started < 10


@pytest.mark.parametrize(
    "statements", [["CREATE TABLE accounts(name, sum)"], ["CREATE TABLE a(x)", "CREATE TABLE b(y)"]]
)
def test_a_database_of_another_program_gets_no_tables(tmp_path, statements):
    (tmp_path / "toy").mkdir()
    run_sql(tmp_path / "toy" / "study.db", *statements)
    for call in (*reading(tmp_path / "toy"), *writing(tmp_path / "toy")[:2]):
        refused_and_left(tmp_path, call, "tables of another program")


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE trial_heartbeats"],
        ["DELETE FROM alembic_version"],
        ["DELETE FROM version_info"],
        ["DROP TABLE alembic_version"],
    ],
)
def test_a_database_of_another_version_is_named_and_not_brought_up_to_date(study, tmp_path, statements):
    run_sql(study / "study.db", *statements)
    for call in reading(study):
        refused_and_left(tmp_path, call, "made by another version of Optuna")


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_sidecars_that_lead_elsewhere_are_refused(tmp_path, finished, suffix, kind):
    """Named by its URL: such a database need not lie in a study's folder."""
    place = tmp_path / "given"
    victim = tmp_path / "victim.txt"
    place.mkdir()
    victim.write_text("precious")
    (place / "s.db").write_bytes((finished / "study.db").read_bytes())
    beside = place / f"s.db{suffix}"
    beside.symlink_to(victim) if kind == "link" else os.mkfifo(beside)
    for must_exist in (True, False):
        call = lambda m=must_exist: open_storage(f"sqlite:///{place}/s.db", tmp_path / "toy", must_exist=m)  # noqa: E731
        refused_and_left(tmp_path, call, str(beside))


def test_readers_on_a_mounted_folder_restore_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.setenv(LOCAL_STORE, str(tmp_path / "local"))
    folder = tmp_path / "drive" / "toy"
    folder.mkdir(parents=True)
    (folder / "study.000001.db").write_bytes((finished / "study.db").read_bytes())
    (folder / "study.000002.db").write_bytes(b"half a snapshot" * 100)
    (folder / "study.000002.db").unlink()
    before = snapshot(tmp_path)
    assert len(load_study(folder).trials) == 2
    assert snapshot(tmp_path) == before, "the database was restored, or a lock was left"


# --- links and pipes in a folder -----------------------------------------------------------------------------------------

NAMES = [
    "figures",
    "artifacts",
    "trial_0000/images",
    "trial_0000/best.pt",
    "stop",
    "report.html",
    "study.lock",
    "confirm",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_study_with_links_in_it_is_neither_read_nor_run(study, tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "history.html").write_text("precious")
    path = study / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(victim if kind == "link" else tmp_path / "gone") if kind != "pipe" else os.mkfifo(path)
    for call in (*reading(study), *writing(study)[:2], lambda: run_study(spec(study.parent, fake_train, trials=3))):
        refused_and_left(tmp_path, call, str(path), "files and folders alone", error=StorageError)


def test_a_folder_that_is_reached_by_a_link_is_the_users_own_way(study, tmp_path):
    (tmp_path / "way").symlink_to(study.parent)
    assert len(load_study(tmp_path / "way" / "toy").trials) == 2


def test_pipes_make_nobody_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe"):
        open_plain(tmp_path / "pipe")
    assert find_special(tmp_path) == (tmp_path / "pipe", "a named pipe")
    for must_exist in (True, False):
        os.rename(next(tmp_path.iterdir()), tmp_path / "s.journal")
        with pytest.raises(StorageError, match="no regular file"):
            open_storage(f"{tmp_path}/s.journal", tmp_path / "toy", must_exist)
    with pytest.raises(StorageError):
        Journal(tmp_path / "s.journal")


@pytest.mark.parametrize(
    "url", ["sqlite:///a\0b.db", "sqlite:///a%00b/x.db", "a\0.journal", f"sqlite:///{'x' * 5000}.db"]
)
def test_names_that_no_file_has_are_one_line(tmp_path, url):
    for must_exist in (True, False):
        refused_and_left(tmp_path, lambda m=must_exist: open_storage(url, tmp_path / "toy", must_exist=m))


def test_asking_to_stop_writes_no_file_of_others_and_reads_no_link(tmp_path):
    (tmp_path / "stop").write_text("my notes")
    stop(tmp_path)
    assert (tmp_path / "stop").read_text() == "my notes"
    forget_stop(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    (tmp_path / "stop").symlink_to(secret)
    assert stop_requested(tmp_path) is None
    stop(tmp_path, "replaced")
    assert secret.read_text() == "hunter2"
    (tmp_path / "stop").unlink()
    (tmp_path / "stop").write_bytes(b"\xff" * 10**6)
    assert len(stop_requested(tmp_path)) <= LONGEST_REASON


# --- what is overwritten or deleted bears our mark -------------------------------------------------------------------------


def marked(folder, **files):
    """A folder as an export leaves it."""
    import hashlib

    digest = lambda content: hashlib.sha256(content).hexdigest()  # noqa: E731
    facts = {"stage": "meshhead", "variant": "default", "metric": "val_loss", "epoch": 1, "sha256": digest(b"weights")}
    content = {
        "best.pt": b"weights",
        "origin.json": json.dumps(facts).encode(),
        **{n: t.encode() for n, t in files.items()},
    }
    folder.mkdir()
    for name, one in content.items():
        (folder / name).write_bytes(one)
    (folder / "SHA256SUMS").write_text("".join(f"{digest(one)}  {name}\n" for name, one in content.items()))
    return folder


def test_only_what_is_listed_and_unchanged_is_ours(tmp_path):
    out = marked(tmp_path / "out", notes="ours")
    assert set(own_files(out)) == {"SHA256SUMS", "best.pt", "origin.json", "notes"}
    (out / "notes").write_text("changed by somebody")
    (out / "thesis.pdf").write_text("somebody's")
    assert set(own_files(out)) == {"SHA256SUMS", "best.pt", "origin.json"}
    require_free(out, {"best.pt", "SHA256SUMS", "config.yaml"}, own_files(out))
    for name in ("notes", "thesis.pdf"):
        with pytest.raises(ConfigError, match=f"{name} is not what an earlier export wrote"):
            require_free(out, {name}, own_files(out))


@pytest.mark.parametrize(
    "sums",
    [
        "{iso}  debian.iso\n", "0  debian.iso\n", "{iso}  ../victim\n", "{iso}  /victim\n", "{iso}  ..\n", "", "\0", "{iso} *debian.iso\n",
        "{iso}  debian.iso\n{iso}  origin.json\n{iso}  best.pt\n",
    ],
)  # fmt: skip
def test_a_list_of_checksums_of_others_is_no_mark(tmp_path, sums):
    import hashlib

    out = tmp_path / "Downloads"
    out.mkdir()
    (tmp_path / "victim").write_text("precious")
    (out / "debian.iso").write_bytes(b"iso")
    (out / "origin.json").write_text("{}")
    (out / "SHA256SUMS").write_text(sums.format(iso=hashlib.sha256(b"iso").hexdigest()))
    before = snapshot(tmp_path)
    assert own_files(out) == {}
    assert snapshot(tmp_path) == before


def test_only_an_archive_of_one_whole_export_is_ours(tmp_path):
    out = marked(tmp_path / "out")
    for name, more, ours in (
        ("a.zip", {}, True),
        ("b.zip", {"out/thesis.pdf": b"x"}, False),
        ("c.zip", {"out/best.pt": b"y"}, False),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in out.iterdir():
                if f"out/{path.name}" not in more:
                    archive.write(path, f"out/{path.name}")
            for entry, content in more.items():
                archive.writestr(entry, content)
        assert is_own_archive(tmp_path / name) is ours
    (tmp_path / "d.zip").write_bytes(b"a backup")
    (tmp_path / "e.zip").symlink_to(tmp_path / "a.zip")
    assert not is_own_archive(tmp_path / "d.zip")
    assert not is_own_archive(tmp_path / "e.zip")
    assert not is_own_archive(tmp_path / "gone.zip")


def test_a_folder_of_results_is_taken_again_only_as_it_was_left(tmp_path):
    own = OwnFolder(tmp_path / "out", "report")
    own.require_own()
    (tmp_path / "out" / "figures").mkdir(parents=True)
    own.require_own()
    (tmp_path / "out" / "figures" / "a.html").write_text("a")
    with pytest.raises(ConfigError, match="something else"):
        own.require_own()
    own.mark()
    own.require_own()
    with pytest.raises(ConfigError, match="Expected a new, empty or earlier table folder"):
        OwnFolder(tmp_path / "out", "table").require_own()
    (tmp_path / "out" / "figures" / "a.html").write_text("b")
    with pytest.raises(ConfigError, match="changed since"):
        own.require_own()


def test_pictures_and_animations_replace_their_like_only(tmp_path):
    for name in ("a.png", "a.gif", "a.mp4"):
        (tmp_path / name).write_bytes(b"somebody's picture")
        with pytest.raises(ConfigError, match="was not written by this program"):
            require_own_output(tmp_path / name)
    (tmp_path / "a.png").unlink()
    for _ in range(2):
        require_own_output(tmp_path / "a.png")
        save_image(tmp_path / "a.png", np.zeros((3, 8, 8)))
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    (tmp_path / "a.gif").unlink()
    (tmp_path / "a.mp4").unlink()
    for _ in range(2):
        for path in (tmp_path / "a.gif", tmp_path / "a.mp4"):
            require_own_output(path)
        write_animation(frames, tmp_path / "a.gif")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ConfigError):
        require_own_output(tmp_path / "link.png")


def test_a_training_deletes_nothing_of_others(tmp_path):
    (tmp_path / "metrics.csv").write_text("my measurements")
    with pytest.raises(ConfigError, match=r"holds metrics\.csv, which is not of a training"):
        _require_no_others(tmp_path, TRACES)
    (tmp_path / "config.yaml").write_text("mine: true")
    with pytest.raises(ConfigError, match="which is not of a training"):
        _require_no_others(tmp_path, TRACES)
    (tmp_path / "config.yaml").write_text("stage: meshhead")
    _require_no_others(tmp_path, TRACES)

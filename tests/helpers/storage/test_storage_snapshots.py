"""Snapshots of a live SQLite file: what an interruption, damage or another machine leaves is never worse than before."""

import errno
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from contextlib import closing

import optuna
import pytest

from helpers.storage import locks
from helpers.storage import sqlite_snapshots as snapshots
from helpers.storage.errors import StorageError
from helpers.storage.sqlite_snapshots import Snapshots, damage

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def places(tmp_path):
    (tmp_path / "local").mkdir()
    return Snapshots(tmp_path / "local" / "study.db", tmp_path / "drive" / "toy")


def tell(live, *numbers):
    """Finish trials in a database that has what matters of Optuna's tables."""
    with closing(sqlite3.connect(live)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS trials (number INTEGER PRIMARY KEY, state TEXT, note TEXT)")
        connection.executemany("INSERT INTO trials VALUES (?, 'COMPLETE', ?)", [(n, "x" * 3000) for n in numbers])
        connection.commit()


def trials(path):
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM trials ORDER BY number")]


def spoil(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_snapshots_stay_in_order(places):
    for number in range(4):
        tell(places.live, number)
        assert trials(places.save()) == list(range(number + 1))
    assert names(places.folder) == ["study.000003.db", "study.000004.db"]
    assert [trials(path) for path in places.saved()] == [[0, 1, 2, 3], [0, 1, 2]]
    assert names(places.live.parent) == ["study.db"], "nothing temporary stays"
    (places.folder / "study.old.db").write_bytes(b"a stranger's file")
    places.save()
    assert "study.old.db" in names(places.folder)


def test_a_real_study_goes_on_from_a_snapshot(places):
    url = f"sqlite:///{places.live}"
    study = optuna.create_study(study_name="toy", storage=url)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    places.save()
    before = [(t.number, t.value, t.params) for t in study.trials]
    places.live.unlink()
    assert places.restore() == places.saved()[0]
    study = optuna.load_study(study_name="toy", storage=url)
    assert [(t.number, t.value, t.params) for t in study.trials] == before
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    places.save()
    assert snapshots._finished_trials(places.saved()[0], resting=True) == 3


@pytest.mark.parametrize("loss", ["missing", "empty", "damaged", "no database"])
def test_a_lost_live_file_comes_back_and_its_remains_are_kept(places, caplog, loss):
    tell(places.live, 0, 1)
    places.save()
    remains = {"missing": None, "empty": b"", "damaged": places.live.read_bytes()[:8192], "no database": b"x" * 9000}
    places.live.unlink()
    if remains[loss] is not None:
        places.live.write_bytes(remains[loss])
    assert places.restore() == places.folder / "study.000001.db"
    assert trials(places.live) == [0, 1]
    kept = [path.read_bytes() for path in places.live.parent.glob("study.db.replaced-*")]
    assert kept == ([] if remains[loss] is None else [remains[loss]])
    assert "restored from" in caplog.text


def test_a_leftover_rollback_journal_is_not_played_into_the_restored_file(places):
    tell(places.live, 0, 1)
    places.save()
    places.live.unlink()
    sidecar = places.live.with_name("study.db-journal")
    sidecar.write_bytes(b"leftover")
    places.restore()
    assert not sidecar.exists()
    assert sorted(p.read_bytes() for p in places.live.parent.glob("study.db.replaced-*-journal")) == [b"leftover"]
    assert trials(places.live) == [0, 1]


def test_a_healthy_live_file_and_a_new_study_are_left_alone(places):
    assert places.restore() is None
    places.live.touch()  # killed before its tables were made
    assert places.restore() is None
    tell(places.live, 0)
    places.save()
    tell(places.live, 1)
    before = places.live.read_bytes()
    assert places.restore() is None
    assert places.live.read_bytes() == before


def test_a_study_that_went_on_elsewhere_is_taken_over(places, tmp_path):
    tell(places.live, 0)
    places.save()
    elsewhere = Snapshots(tmp_path / "other" / "study.db", places.folder)
    elsewhere.restore()
    tell(elsewhere.live, 1, 2)
    elsewhere.save()
    assert places.restore() == places.folder / "study.000002.db"
    assert trials(places.live) == [0, 1, 2]
    assert [trials(p) for p in places.live.parent.glob("*.replaced-*")] == [[0]]


def test_a_damaged_snapshot_is_passed_over(places):
    tell(places.live, 0)
    places.save()
    tell(places.live, 1)
    spoil(places.save())
    places.live.unlink()
    assert places.restore() == places.folder / "study.000001.db"
    assert trials(places.live) == [0]


@pytest.mark.parametrize("live", ["missing", "damaged"])
def test_without_a_valid_snapshot_nothing_is_begun_anew(places, live):
    tell(places.live, 0, 1)
    spoil(places.save())
    if live == "missing":
        places.live.unlink()
    else:
        spoil(places.live)
    before = {path: path.read_bytes() for path in places.live.parent.iterdir()}
    with pytest.raises(StorageError, match="no valid snapshot") as error:
        places.restore()
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in places.live.parent.iterdir()} == before


class Interrupted(BaseException):
    """Stands for the end of the process."""


STEPS = ["helpers.storage.sqlite_snapshots._back_up", "shutil.copyfile", "gazegaussian.utils.atomic_files.os.replace"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("cause", [Interrupted(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_save_leaves_the_older_snapshots(places, monkeypatch, caplog, step, cause):
    for number in range(2):
        tell(places.live, number)
        places.save()
    before = {path.name: path.read_bytes() for path in places.folder.iterdir()}

    def interrupt(source, target):
        if not step.endswith("_back_up"):
            target.write_bytes(b"half")
        raise cause

    tell(places.live, 2)
    with monkeypatch.context() as patch:
        patch.setattr(step, interrupt)
        if isinstance(cause, OSError):
            assert places.save() is None
            assert "disk full" in caplog.text
            assert "\n" not in caplog.records[-1].getMessage()
        else:
            with pytest.raises(Interrupted):
                places.save()
    # The renaming was stopped after half a file stood under the final name: not valid, so the one before is taken.
    whole = {name: content for name, content in before.items() if (places.folder / name).exists()}
    assert whole == before
    assert not list(places.folder.glob(".*"))
    places.live.unlink()
    places.restore()
    assert trials(places.live) == [0, 1]
    tell(places.live, 2)
    assert trials(places.save()) == [0, 1, 2]


def save_and_die(places):
    def die(source, target):
        target.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    snapshots.shutil.copyfile = die
    places.save()


def test_a_save_that_was_killed_leaves_nothing_behind_for_long(places, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_GRACE", 3)
    tell(places.live, 0)
    places.save()
    tell(places.live, 1)
    saver = FORK.Process(target=save_and_die, args=(places,))
    saver.start()
    saver.join()
    assert saver.exitcode == -signal.SIGKILL
    assert len(names(places.folder)) == 2, "a whole snapshot and a temporary file"
    assert [trials(path) for path in places.saved()] == [[0]]
    assert places.restore() is None
    assert names(places.folder) == ["study.000001.db"]
    assert names(places.live.parent) == ["study.db"]
    assert trials(places.save()) == [0, 1]


def test_a_damaged_live_file_never_pushes_a_snapshot_out(places):
    for number in range(2):
        tell(places.live, number, number + 10)
        places.save()
    before = names(places.folder)
    whole = places.live.read_bytes()
    places.live.write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))
    with pytest.raises(StorageError, match="damaged"):
        places.save()
    places.live.unlink()
    with pytest.raises(StorageError, match="is gone"):
        places.save()
    assert names(places.folder) == before


def test_a_locked_live_file_is_told(places, monkeypatch):
    monkeypatch.setattr(snapshots, "BUSY_SECONDS", 0.1)
    tell(places.live, 0)
    with closing(sqlite3.connect(places.live)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked by another program"):
            places.save()
        with pytest.raises(StorageError, match="locked by another program"):
            damage(places.live)
    assert trials(places.save()) == [0]


def write_pairs(live, stop):
    with closing(sqlite3.connect(live, timeout=20)) as connection:
        number = 100
        while not stop.wait(0.002):
            connection.execute("INSERT INTO trials VALUES (?, 'COMPLETE', '')", (number,))
            connection.execute("INSERT INTO trials VALUES (?, 'COMPLETE', '')", (number + 1,))
            connection.commit()
            number += 2


def test_snapshots_taken_while_another_process_writes_are_whole(places):
    tell(places.live, 0, 1)
    stop = FORK.Event()
    writer = FORK.Process(target=write_pairs, args=(places.live, stop))
    writer.start()
    try:
        sizes = []
        for _ in range(5):
            saved = places.save()
            assert damage(saved, resting=True) is None
            sizes.append(len(trials(saved)))
    finally:
        stop.set()
        writer.join()
    assert all(size % 2 == 0 for size in sizes), "half a transaction"
    assert sizes == sorted(sizes)
    assert writer.exitcode == 0


def test_savers_side_by_side_leave_whole_snapshots(places):
    tell(places.live, *range(5))
    places.save()
    savers = [threading.Thread(target=places.save) for _ in range(3)]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    assert 1 <= len(places.saved()) <= places.keep
    assert all(trials(path) == list(range(5)) for path in places.saved())


def test_a_number_of_snapshots_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        Snapshots(tmp_path / "a.db", tmp_path, keep=0)


def test_a_snapshot_folder_can_be_read_without_locks(places):
    tell(places.live, 0)
    saved = places.save()
    holder = sqlite3.connect(saved)
    with closing(holder):
        holder.execute("BEGIN EXCLUSIVE")  # stands for a file system that grants no lock
        shutil.rmtree(places.live.parent)
        places.restore()
    assert trials(places.live) == [0]

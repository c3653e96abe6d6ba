"""Studies in folders that SQLite must not live in: a local database, snapshots beside the trials."""

import shutil
import socket
from types import SimpleNamespace

import psutil
import pytest
from optuna.trial import TrialState
from study_support import fake_train, line_train, run_study, spec

from gazegaussian.training.hooks import Hook
from helpers import load_study
from helpers.storage.location import LOCAL_STORE, live_database, snapshots_of
from helpers.storage.locks import is_mounted


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Folder for live databases, as on a machine whose results are on Drive."""
    monkeypatch.setenv(LOCAL_STORE, str(tmp_path / "local"))
    return tmp_path / "local"


def another_machine(local, monkeypatch):
    shutil.rmtree(local)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")


def test_a_study_on_drive_is_kept_there_by_snapshots(tmp_path, local, monkeypatch):
    drive = tmp_path / "drive"
    before = run_study(spec(drive))
    assert not list(drive.rglob("study.db"))
    assert len(list((drive / "toy").glob("study.??????.db"))) == 2
    another_machine(local, monkeypatch)
    there = load_study(drive / "toy")
    assert [t.values for t in there.trials] == [t.values for t in before.trials]
    assert there.user_attrs["stop_reason"] == "all 6 trials are finished"
    assert len(run_study(spec(drive, trials=7)).trials) == 7


def test_a_machine_lost_in_the_middle_of_a_trial_costs_one_epoch(tmp_path, local, monkeypatch):
    monkeypatch.setattr("helpers.study.trial_files.CHECKPOINT_SECONDS", 0.0)  # else it costs those since the last copy
    drive = tmp_path / "drive"
    lost = tmp_path / "lost"
    epochs = []

    class Epochs(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            epochs.append(epoch)
            if len(epochs) == 4:  # what Drive holds when the machine goes; its reports end one hook ago
                shutil.copytree(drive, lost)

    def train(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, Epochs()], resume)

    run_study(spec(drive, train, trials=1))
    another_machine(local, monkeypatch)
    shutil.rmtree(drive)
    lost.rename(drive)
    del epochs[:]
    study = run_study(spec(drive, train, trials=1))
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert epochs == [4, 5, 6, 7]
    assert len(study.trials[1].intermediate_values) == 8


@pytest.mark.parametrize(
    ("kind", "mounted"),
    [("fuse", True), ("nfs4", True), ("fuse.sshfs", True), ("fuse.fuse-overlayfs", False), ("ext4", False)],
)
def test_mounted_folders_are_recognised(tmp_path, monkeypatch, kind, mounted):
    partitions = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=kind),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: partitions)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    folder = tmp_path / "MyDrive" / "toy"
    assert is_mounted(folder) is mounted
    assert (snapshots_of(folder) is not None) is mounted
    assert live_database(folder).is_relative_to("/cache" if mounted else folder)
    assert not is_mounted(tmp_path.parent)


def test_two_folders_of_one_name_have_databases_of_their_own(tmp_path, local):
    for name in ("a", "b"):
        run_study(spec(tmp_path / name, fake_train, trials=1))
    assert len(list(local.glob("toy-*/study.db"))) == 2

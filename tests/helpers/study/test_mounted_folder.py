"""A study on a mounted folder (Google Drive, rehearsed with a real FUSE mount) that dies while it trains."""

import errno
import os
from types import SimpleNamespace

import pytest
from fuse_support import Mount, why_not
from optuna.trial import TrialState
from study_support import line_train, run_study, spec

from gazegaussian.errors import UserError
from gazegaussian.training.hooks import Hook
from helpers.notebook.display import newest_studies
from helpers.notebook.session import plan_study
from helpers.results.attributes import RESUME_OF
from helpers.storage.location import local_runs, study_folders
from helpers.storage.locks import is_mounted
from helpers.study import trial_files
from helpers.study.loop import open_study
from helpers.utils import files as disk
from helpers.utils.files import DiskError

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
TRIALS = 2
EPOCHS = 6


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mount = Mount(tmp_path)
    if not mount.mount():
        mount.unmount()
        pytest.skip("bindfs cannot mount here")
    assert is_mounted(mount.folder)
    yield mount
    mount.unmount()


class Epochs(Hook):
    """Calls something after each epoch that any trial trains."""

    def __init__(self, act):
        self.act = act
        self.count = 0

    def on_epoch_end(self, trainer, epoch, metrics):
        self.count += 1
        self.act(self.count)


def asked(mount, epochs):
    def train(config, run_dir, hooks, resume):
        assert mount.folder not in run_dir.parents, "the training itself needs no mounted folder"
        return line_train(config, run_dir, [epochs, *hooks], resume)

    return spec(mount.folder, train, trials=TRIALS, epochs=EPOCHS, metric="val_loss")


def test_a_mount_that_dies_costs_a_sentence_and_no_epoch(mounted, monkeypatch):
    monkeypatch.setattr(disk, "PAUSES", (0.0,))
    epochs = Epochs(lambda count: mounted.die() if count == 3 else None)
    study_spec = asked(mounted, epochs)
    with pytest.raises(DiskError, match="has gone: mount it again") as stopped:
        run_study(study_spec)
    assert "\n" not in str(stopped.value)
    with pytest.raises(OSError, match="not connected") as dead:
        os.listdir(mounted.folder)
    assert dead.value.errno == errno.ENOTCONN
    for ask in (study_folders, newest_studies, lambda out: plan_study("meshhead", out=out)):
        with pytest.raises(UserError, match="mount it again"):
            ask(mounted.folder)
    assert mounted.mount()
    study = run_study(study_spec)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert states.count(TrialState.COMPLETE) == TRIALS
    assert any(RESUME_OF in trial.user_attrs for trial in study.get_trials(deepcopy=False)), "it was queued again"
    assert epochs.count == TRIALS * EPOCHS, "no epoch was trained twice"
    assert not any(local_runs(study_spec.folder).iterdir()), "what has arrived is not kept twice"


def test_a_mount_that_comes_back_is_waited_for(mounted, monkeypatch):
    monkeypatch.setattr(disk, "time", SimpleNamespace(sleep=lambda seconds: mounted.mount()))
    epochs = Epochs(lambda count: mounted.die() if count == EPOCHS else None)
    study = run_study(asked(mounted, epochs))
    assert [trial.state for trial in study.get_trials(deepcopy=False)] == TRIALS * [TrialState.COMPLETE]


def test_checkpoints_reach_the_folder_once_per_trial_and_at_intervals(mounted, monkeypatch):
    copied = []
    copy = trial_files.atomic_copy
    monkeypatch.setattr(trial_files, "atomic_copy", lambda path, target: (copied.append(path.name), copy(path, target)))
    study_spec = asked(mounted, Epochs(lambda count: None))
    study = run_study(study_spec)
    assert copied.count("last.pt") == TRIALS
    assert copied.count("metrics.csv") == TRIALS * EPOCHS
    for trial in study.get_trials(deepcopy=False):
        assert os.path.exists(trial.user_attrs["last_checkpoint"])
        assert str(mounted.folder) in trial.user_attrs["last_checkpoint"]
    copied.clear()
    monkeypatch.setattr(trial_files, "CHECKPOINT_SECONDS", 0.0)
    run_study(spec(mounted.folder, study_spec.train, trials=1, epochs=EPOCHS, metric="val_loss", study_name="often"))
    assert copied.count("last.pt") == EPOCHS


def test_the_study_opens_where_its_local_files_are_gone(mounted, tmp_path, monkeypatch):
    """The next machine has the mounted folder alone."""
    study_spec = asked(mounted, Epochs(lambda count: None))
    run_study(study_spec)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    study = open_study(study_spec, study_spec.monitored())
    assert len(study.get_trials(deepcopy=False)) == TRIALS

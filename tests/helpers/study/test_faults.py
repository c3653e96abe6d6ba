"""Faults of the machine that one process meets: damaged checkpoints, a clock that is set, two starts at once."""

import multiprocessing
import os
import time

import psutil
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState
from run_folder_support import (
    config,
    small_stage,  # noqa: F401  fixtures
)
from study_support import run_study, spec
from trainer_support import LineStage, StopAfter, trainer

import gazegaussian.build
import helpers.api
from gazegaussian import build
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.run_folder import resume_point
from gazegaussian.training.trainer import Trainer
from helpers import load_study
from helpers.storage.backends import open_storage
from helpers.study import heartbeat as ownership
from helpers.study.heartbeat import current_owner, is_alive, requeue_lost

FORK = multiprocessing.get_context("fork")
FAIL = TrialState.FAIL
COMPLETE = TrialState.COMPLETE
WAITING = TrialState.WAITING


def train(config, run_dir, hooks, resume):
    """The real trainer, resumed as the real stages are."""
    made = Trainer(LineStage(), config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
    return made.fit(resume=resume_point(run_dir) if resume else None)


def cut(config, run_dir, hooks, resume):
    return train(config, run_dir, [*hooks, StopAfter(4)], resume)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


# --- checkpoints that the disk has damaged


@pytest.mark.parametrize(
    ("damaged", "said"), [(["last.pt"], "from the one before, best.pt"), (["last.pt", "best.pt"], "cannot resume")]
)
def test_a_trial_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog, damaged, said):
    whole = run_study(spec(tmp_path / "whole", train, trials=1))
    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path / "cut", cut, trials=1))
    for name in damaged:
        truncate(tmp_path / "cut" / "toy" / "trial_0000" / name)
    resumed = run_study(spec(tmp_path / "cut", train, trials=1))
    assert [trial.state for trial in resumed.trials] == [FAIL, COMPLETE]
    assert resumed.trials[1].intermediate_values == whole.trials[0].intermediate_values
    assert resumed.trials[1].value == whole.trials[0].value
    assert said in caplog.text


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, small_stage):
    whole = helpers.train(config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        build.train_run(config(), tmp_path / "cut", [StopAfter(1)])
    truncate(tmp_path / "cut" / "last.pt")
    resumed = helpers.train(config(), tmp_path / "cut")
    assert [row["val_loss"] for row in resumed.history] == [row["val_loss"] for row in whole.history]


def test_without_any_readable_checkpoint_nothing_is_begun_anew_in_silence(tmp_path):
    trainer(tmp_path, epochs=2).fit()
    assert resume_point(tmp_path) == tmp_path / "last.pt"
    for name in ("last.pt", "best.pt"):
        truncate(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"last\.pt is no readable checkpoint"):
        resume_point(tmp_path)


# --- a clock that is set


@pytest.mark.parametrize("jump", [-1e8, 1e8])
def test_a_clock_that_jumps_ends_no_budget_and_bends_no_measurement(tmp_path, monkeypatch, jump):
    real = time.time
    moved = []

    def jumping(config, run_dir, hooks, resume):
        moved.append(jump)
        monkeypatch.setattr(time, "time", lambda: real() + jump * len(moved))
        return train(config, run_dir, hooks, resume)

    limits = {"timeout": 600, "max_compute": 600, "trial_timeout": 600}
    study = run_study(spec(tmp_path, jumping, trials=2, budget=limits, pruner={"name": "none"}))
    assert [trial.state for trial in study.trials] == [COMPLETE, COMPLETE]
    assert all(0 <= trial.user_attrs["seconds"] < 600 for trial in study.trials)
    assert "all 2 trials" in study.user_attrs["stop_reason"]


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc: the start is known by the clock alone")
@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_process_stays_the_owner_of_its_trial_when_the_clock_is_set(monkeypatch, jump):
    owner = current_owner()
    assert not is_alive({**owner, "ticks": owner["ticks"] + 1}), "a later process with its number"
    real = psutil.Process.create_time  # counted from the boot's time of day, which the system computes backwards
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + jump)
    assert is_alive(owner)


def test_a_trial_asked_for_before_the_clock_was_set_back_is_not_left_for_ever(tmp_path, monkeypatch):
    study = run_study(spec(tmp_path, trials=1))
    study.enqueue_trial({"lr": 1e-4})
    study.ask()  # its process dies before it has said who it is
    assert requeue_lost(study) == []

    class Earlier(ownership.datetime):
        @classmethod
        def now(cls):
            return super().now().replace(year=2001)

    monkeypatch.setattr(ownership, "datetime", Earlier)
    assert requeue_lost(study) == [1]


# --- two at once, and interrupts at bad moments


def hold(folder, began, over):
    def stop(*arguments, **more):
        began.set()
        over.wait(120)

    build_run = gazegaussian.build.train_run
    gazegaussian.build.train_run = stop
    try:
        helpers.train(config(), folder)
    except AttributeError:  # what is no result is of no interest here
        pass
    finally:
        gazegaussian.build.train_run = build_run


def test_two_trainings_started_at_once_do_not_share_a_folder(tmp_path, small_stage):
    began = FORK.Event()
    over = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path / "run", began, over))
    process.start()
    assert began.wait(120)
    with pytest.raises(ConfigError, match=r"Another training works in .*give another --out"):
        helpers.train(config(), tmp_path / "run")
    process.kill()
    process.join()
    assert len(helpers.train(config(), tmp_path / "run").history) == 3, "the dead hold nothing"


def test_ctrl_c_in_the_middle_of_a_commit_is_no_broken_storage(tmp_path, monkeypatch):
    store = open_storage(None, tmp_path)

    def interrupted(self, connection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sqlalchemy.engine.default.DefaultDialect.do_commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.create_new_study(directions=[StudyDirection.MINIMIZE], study_name="toy")
    run_study(spec(tmp_path, trials=1))
    assert len(load_study(tmp_path / "toy").trials) == 1

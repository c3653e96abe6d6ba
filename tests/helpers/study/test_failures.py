"""What goes wrong in a study, injected: memory, numbers, validation, disk. Nothing finished is lost."""

import errno
import os
import shutil
import weakref
from collections import namedtuple
from functools import partial

import optuna
import pytest
import torch
from optuna.trial import TrialState
from study_support import line_train, run_study, spec
from trainer_support import LineStage

import helpers.study.trial
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import Trainer
from helpers import load_study
from helpers.study.trial_files import bytes_of_model, remove_old_checkpoints
from helpers.utils.files import DiskError, disk_problem

COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL
PRUNED = TrialState.PRUNED
WAITING = TrialState.WAITING
NONE = {"pruner": {"name": "none"}}


def states(study):
    return [trial.state for trial in study.trials]


def train_stage(make, config, run_dir, hooks, resume):
    """Train the stage that `make(run_dir)` gives with the real trainer."""
    trainer = Trainer(make(run_dir), config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
    return trainer.fit(resume=run_dir / "last.pt" if resume else None)


class At(Hook):
    """Raises in an epoch, after the checkpoints are written."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch = epoch
        self.error = error

    def on_epoch_end(self, trainer, epoch, metrics):
        if epoch == self.epoch:
            raise self.error


# --- what costs one trial ---------------------------------------------------------------------------------------------


def test_out_of_memory_in_the_forward_fails_one_trial_and_frees_its_tensors(tmp_path, monkeypatch):
    held = []
    alive = []

    class Hungry(LineStage):
        def losses(self, batch, epoch):
            activations = torch.zeros(10)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def make(run_dir):
        return Hungry() if run_dir.name == "trial_0001" else LineStage()

    monkeypatch.setattr(helpers.study.trial, "release_memory", lambda: alive.append(held[-1]()))
    study = run_study(spec(tmp_path, partial(train_stage, make), trials=2, epochs=2))
    assert states(study) == [COMPLETE, FAIL, COMPLETE]
    reason = study.trials[1].user_attrs["fail_reason"]
    assert reason.startswith("out of memory, use batch_size 1")
    assert "20.00 GiB" in reason
    assert alive == [None], "the cache is emptied when nothing of the failed step is left"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 TB")])
def test_the_systems_memory_counts_too(tmp_path, error):
    def train(config, run_dir, hooks, resume):
        raise error

    with pytest.raises(RuntimeError, match="1 trial failed in a row, the last one: out of memory"):
        run_study(spec(tmp_path, train, max_failures=1))


class NanLoss(LineStage):
    def losses(self, batch, epoch):
        return {name: value * float("nan") for name, value in super().losses(batch, epoch).items()}


class NanGradient(LineStage):
    def losses(self, batch, epoch):
        zero = self.module(batch.x).sum() * 0
        return {"mse": zero.sqrt() * 0}  # 0 forward; backward 0 * inf


class BrokenRuler(LineStage):
    def validate(self):
        raise ZeroDivisionError("no face in any validation image")


@pytest.mark.parametrize(
    ("stage", "text"),
    [(NanLoss, "non-finite loss in mse"), (NanGradient, "non-finite gradient"), (BrokenRuler, "no face in any")],
)
def test_a_broken_trial_has_a_reason_and_no_value(tmp_path, stage, text):
    def make(run_dir):
        return stage() if run_dir.name == "trial_0001" else LineStage()

    study = run_study(spec(tmp_path, partial(train_stage, make), trials=2, epochs=2))
    assert states(study) == [COMPLETE, FAIL, COMPLETE]
    assert text in study.trials[1].user_attrs["fail_reason"]
    assert study.trials[1].values is None
    assert study.trials[1].intermediate_values == {}
    assert study.best_trial.number != 1


def test_validation_that_always_fails_stops_the_study_with_the_cause(tmp_path):
    train = partial(train_stage, lambda run_dir: BrokenRuler())
    with pytest.raises(RuntimeError, match=r"2 trials failed in a row.*no face in any validation image"):
        run_study(spec(tmp_path, train, max_failures=2))
    study = load_study(tmp_path / "toy")
    assert states(study) == [FAIL, FAIL]
    assert "2 trials failed in a row" in study.user_attrs["stop_reason"]
    assert not (tmp_path / "toy" / "best.json").exists()


# --- disk -------------------------------------------------------------------------------------------------------------


def full_from_epoch(monkeypatch, number):
    """Let torch find the disk full when the checkpoints of an epoch are written."""
    real = torch.save

    def save(content, path):
        if len(content["history"]) > number:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(content, path)

    monkeypatch.setattr(torch, "save", save)


def test_a_full_disk_stops_the_study_and_the_trial_goes_on_later(tmp_path, monkeypatch):
    whole = run_study(spec(tmp_path / "whole", line_train, trials=1))
    with monkeypatch.context() as patched:
        full_from_epoch(patched, 3)
        with pytest.raises(DiskError, match=r"disk is full.*run the same command again") as caught:
            run_study(spec(tmp_path / "cut", line_train, trials=1))
    assert "\n" not in str(caught.value)
    cut = load_study(tmp_path / "cut" / "toy")
    assert states(cut) == [FAIL, WAITING]
    assert cut.user_attrs["stop_reason"].startswith("The disk is full")
    assert not list((tmp_path / "cut").rglob("*.pt.*.tmp"))
    resumed = run_study(spec(tmp_path / "cut", line_train, trials=1))
    assert resumed.trials[1].intermediate_values == whole.trials[0].intermediate_values
    assert resumed.trials[1].value == whole.trials[0].value


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
def test_torchs_own_message_of_a_full_disk_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.save({"weights": torch.zeros(1_000_000)}, "/dev/full")
    assert "full disk" in disk_problem(caught.value)
    assert disk_problem(RuntimeError("shape mismatch")) is None
    assert disk_problem(OSError(errno.ENOENT, "no such file")) is None


def test_a_folder_that_cannot_be_written_ends_the_study_before_any_trial(tmp_path):
    (tmp_path / "toy").write_text("a file where the study's folder should be")
    with pytest.raises(DiskError, match=r"toy cannot be used as a folder"):
        run_study(spec(tmp_path))


def test_a_trial_that_may_not_write_is_queued_again(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise PermissionError(errno.EACCES, "Permission denied", str(run_dir / "last.pt"))

    with pytest.raises(DiskError, match=r"No permission to write .*last\.pt"):
        run_study(spec(tmp_path, train))
    assert states(load_study(tmp_path / "toy")) == [FAIL, WAITING]


Usage = namedtuple("Usage", "total used free")


def test_a_trial_begins_only_where_its_checkpoints_fit(tmp_path, monkeypatch):
    study = run_study(spec(tmp_path, line_train, trials=1))
    size = (tmp_path / "toy" / "trial_0000" / "last.pt").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 2 * size, 2 * size))
    with pytest.raises(DiskError, match=r"needs about .* MB .*keep_best"):
        run_study(spec(tmp_path, line_train, trials=2))
    assert len(study.trials) == 1, "nothing was asked for"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 4 * size))
    assert states(run_study(spec(tmp_path, line_train, trials=2))) == [COMPLETE, COMPLETE]


def test_the_first_trial_is_measured_by_its_model(tmp_path, monkeypatch):
    weights = sum(p.numel() * p.element_size() for p in LineStage().module.parameters())
    needed = bytes_of_model(weights)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, needed - 1))
    with pytest.raises(DiskError, match="needs about"):
        run_study(spec(tmp_path, line_train, trials=1))
    assert states(load_study(tmp_path / "toy")) == [FAIL, WAITING]
    assert not (tmp_path / "toy" / "trial_0000" / "last.pt").exists()


def has_checkpoints(study, folder):
    return [trial.number for trial in study.trials if (folder / f"trial_{trial.number:04d}" / "last.pt").exists()]


def test_checkpoints_are_thinned_to_the_best(tmp_path):
    study = run_study(spec(tmp_path, line_train, trials=10, keep_best=2))
    assert PRUNED in states(study)
    complete = sorted((t for t in study.trials if t.state == COMPLETE), key=lambda t: t.value)
    assert len(complete) > 2
    assert sorted(has_checkpoints(study, tmp_path / "toy")) == sorted({0, *(t.number for t in complete[:2])})
    for trial in study.trials:
        assert (tmp_path / "toy" / f"trial_{trial.number:04d}" / "metrics.csv").exists(), "tables stay"


def test_thinning_spares_what_an_interrupted_trial_needs(tmp_path):
    run_study(spec(tmp_path, line_train, trials=2, keep_best=1, **NONE))

    def interrupted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, At(3)], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, interrupted, trials=3, keep_best=1, **NONE))
    study = load_study(tmp_path / "toy")
    best = study.best_trial.number
    remove_old_checkpoints(study, tmp_path / "toy", 1)
    assert has_checkpoints(study, tmp_path / "toy") == sorted({0, best, 2}), "the baseline's, too"
    study = run_study(spec(tmp_path, line_train, trials=3, keep_best=1, **NONE))
    assert len(study.trials[3].intermediate_values) == 8
    assert has_checkpoints(study, tmp_path / "toy") == sorted({0, study.best_trial.number})


def test_nothing_is_thinned_before_there_is_a_result(tmp_path):
    study = optuna.create_study()
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.set_user_attr("folder", str(tmp_path / "trial_0000"))
    (tmp_path / "trial_0000").mkdir()
    (tmp_path / "trial_0000" / "last.pt").write_bytes(b"weights")
    study.tell(trial, state=FAIL)
    assert remove_old_checkpoints(study, tmp_path, 1) == []
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert remove_old_checkpoints(study, tmp_path, 1) == [0]

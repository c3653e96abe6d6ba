"""A study that is interrupted at the worst moments goes on as if nothing had happened."""

import os
import signal
from functools import partial

import optuna
import pytest
from optuna.trial import TrialState
from study_support import fake_train, line_train, run_study, spec
from trainer_support import LineStage

from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import Trainer
from helpers import load_study
from helpers.storage.backends import open_storage
from helpers.study.heartbeat import claimed, requeue, requeue_lost

COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL
PRUNED = TrialState.PRUNED
WAITING = TrialState.WAITING


def states(study):
    return [trial.state for trial in study.trials]


class At(Hook):
    """Raises in an epoch, after the checkpoints are written."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch = epoch
        self.error = error

    def on_epoch_end(self, trainer, epoch, metrics):
        if epoch == self.epoch:
            raise self.error


def test_sigterm_is_treated_like_ctrl_c(tmp_path):
    def train(config, run_dir, hooks, resume):
        os.kill(os.getpid(), signal.SIGTERM)
        return fake_train(config, run_dir, hooks, resume, seconds=0.05)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, train))
    assert signal.getsignal(signal.SIGTERM) is before
    study = load_study(tmp_path / "toy")
    assert states(study) == [FAIL, WAITING]
    assert study.user_attrs["stop_reason"] == "interrupted"
    assert "INTERRUPTED" in (tmp_path / "toy" / "summary.csv").read_text()


def run_and_count(tmp_path, **changes):
    """Run to the end; returns the study and the epochs that were trained."""
    epochs = []

    class Count(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            epochs.append(epoch)

    def train(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [Count(), *hooks], resume)

    return run_study(spec(tmp_path, train, **changes)), epochs


def patient(config, run_dir, hooks, resume, extra=()):
    """Validation gets worse from the third epoch on: early stopping ends the training after the fifth."""
    stage = LineStage(validation=[0.5, 0.4, *(0.5 + 0.1 * n for n in range(20))])
    training = config.training.model_copy(update={"patience": 3})
    trainer = Trainer(stage, training, config.optim, run_dir, [*hooks, *extra], config.model_dump(mode="json"))
    return trainer.fit(resume=run_dir / "last.pt" if resume else None)


def test_a_kill_after_early_stopping_was_decided_trains_no_epoch_more(tmp_path):
    whole = run_study(spec(tmp_path / "whole", patient, trials=1))
    assert len(whole.trials[0].intermediate_values) == 5
    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path / "cut", partial(patient, extra=[At(4)]), trials=1))
    resumed = run_study(spec(tmp_path / "cut", patient, trials=1)).trials[1]
    assert resumed.intermediate_values == whole.trials[0].intermediate_values
    assert resumed.user_attrs["stop_reason"] == whole.trials[0].user_attrs["stop_reason"]
    assert resumed.value == resumed.intermediate_values[1] == 0.4
    assert (tmp_path / "cut" / "toy" / "trial_0001" / "metrics.csv").exists()


def test_a_kill_after_pruning_was_decided_trains_no_epoch_more(tmp_path, monkeypatch):
    asked = {"trials": 2, "pruner": {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 2}}}
    whole, _ = run_and_count(tmp_path / "whole", **asked)
    assert states(whole) == [COMPLETE, PRUNED]
    real = optuna.Trial.should_prune

    def killed(trial):
        if real(trial):
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Trial, "should_prune", killed)
        with pytest.raises(KeyboardInterrupt):
            run_and_count(tmp_path / "cut", **asked)
    resumed, epochs = run_and_count(tmp_path / "cut", **asked)
    assert states(resumed) == [COMPLETE, FAIL, PRUNED]
    assert epochs == []
    assert resumed.trials[2].intermediate_values == whole.trials[1].intermediate_values


def test_a_resumed_trial_names_in_its_first_line_the_one_that_it_resumes(tmp_path, caplog):
    def interrupted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, At(3)], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, interrupted, trials=1))
    with caplog.at_level("INFO"):
        run_study(spec(tmp_path, line_train, trials=1))
    assert any(message.startswith("trial 1 (resumes trial 0): lr=") for message in caplog.messages)


def test_a_retry_killed_before_it_took_over_loses_no_epoch(tmp_path):
    def interrupted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, At(3)], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, interrupted, trials=1))
    study = optuna.load_study(study_name="toy", storage=open_storage(None, tmp_path / "toy"))
    trial = study.ask()  # the queued one; its process dies at once
    assert trial.user_attrs["resume_of"] == 0
    requeue(study, study.trials[1], "killed")
    done, epochs = run_and_count(tmp_path, trials=1)
    assert epochs == [4, 5, 6, 7]
    assert len(done.trials[2].intermediate_values) == 8


def test_a_trial_that_this_process_gave_up_is_not_taken_for_a_live_one(tmp_path):
    """A notebook goes on after its study has failed; so does its process."""
    study = run_study(spec(tmp_path, trials=1))
    study.enqueue_trial({"lr": 1e-4})
    with claimed(study.ask()):
        assert requeue_lost(study) == []
    assert requeue_lost(study) == [1]
    assert study.trials[2].user_attrs["resume_of"] == 1


def test_what_killed_writers_left_is_removed(tmp_path):
    def train(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [At(3), *hooks], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, train, trials=1))
    folder = tmp_path / "toy"
    left = [
        folder / "trial_0000" / "images" / ".epoch_0004.png.abcdef_1.tmp",
        folder / ".best.json.abcdef_2.tmp",
        folder / ".new.abcdef_3.tmp",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    os.utime(left[1], (0, 0))
    run_study(spec(tmp_path, line_train, trials=1))
    assert [path.name for path in folder.rglob("*.tmp")] == [".new.abcdef_3.tmp"]  # another worker may be writing it

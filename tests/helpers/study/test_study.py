"""Studies with a small stand-in for training: states, resume, requeueing, results. The real thing runs in test_cli."""

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
import torch
from optuna.trial import TrialState
from study_support import FakeTrainer, fake_train, line_train, run_study, spec

from gazegaussian.config import MeshHeadRun
from gazegaussian.errors import ConfigError, DataError, NonFiniteError
from helpers import load_study
from helpers.search.samplers_and_pruners import make_pruner, make_sampler
from helpers.search.space import Component
from helpers.study.heartbeat import requeue


def states(study):
    return [trial.state for trial in study.trials]


def test_baseline_is_the_first_trial_and_pruned_is_stored_as_pruned(tmp_path):
    study = run_study(spec(tmp_path, trials=12))
    assert study.trials[0].params == {"lr": MeshHeadRun().optim.lr}
    assert study.trials[0].user_attrs["baseline"] is True
    assert TrialState.PRUNED in states(study)
    assert set(states(study)) == {TrialState.COMPLETE, TrialState.PRUNED}
    pruned = next(t for t in study.trials if t.state == TrialState.PRUNED)
    assert len(pruned.intermediate_values) >= 6  # five epochs of warm-up


def test_a_trial_that_was_trained_to_its_end_is_complete_whatever_the_pruner_says(tmp_path, monkeypatch):
    # as in `study_file`
    epochs = 8
    asked = []

    def prune_at_the_end(trial):
        asked.append(trial.number)
        return len(trial.study.get_trials()[trial.number].intermediate_values) == epochs

    monkeypatch.setattr(optuna.Trial, "should_prune", prune_at_the_end)
    study = run_study(spec(tmp_path, trials=2))
    assert states(study) == [TrialState.COMPLETE] * 2
    assert asked == [0] * epochs + [1] * epochs, "pruners that keep notes must see every epoch"


def test_same_command_adds_nothing_and_more_trials_continue(tmp_path, caplog):
    run_study(spec(tmp_path))
    with caplog.at_level("INFO"):
        again = run_study(spec(tmp_path))
    assert len(again.trials) == 6
    assert "nothing to add" in caplog.text
    more = run_study(spec(tmp_path, trials=9))
    assert len(more.trials) == 9
    suggestions = [t.params["lr"] for t in more.trials]
    assert len(set(suggestions)) == 9, "a resumed sampler repeated its first suggestions"


@pytest.mark.parametrize("error", [NonFiniteError("bad loss"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_failed_trial_keeps_its_reason_and_the_study_goes_on(tmp_path, error):
    calls = []

    def train(config, run_dir, hooks, resume):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return fake_train(config, run_dir, hooks, resume)

    study = run_study(spec(tmp_path, train))
    assert states(study).count(TrialState.FAIL) == 1
    assert type(error).__name__ in study.trials[1].user_attrs["fail_reason"]
    assert sum(s in (TrialState.COMPLETE, TrialState.PRUNED) for s in states(study)) == 6


def test_failures_in_a_row_stop_the_study_with_the_cause(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise ZeroDivisionError("broken model")

    with pytest.raises(RuntimeError, match=r"3 trials failed in a row.*broken model"):
        run_study(spec(tmp_path, train))


def test_bad_input_ends_the_study_at_once(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise DataError("file is damaged")

    with pytest.raises(DataError):
        run_study(spec(tmp_path, train, trials=1))
    repaired = run_study(spec(tmp_path, trials=1))
    assert repaired.trials[0].user_attrs["fail_reason"] == "DataError: file is damaged"
    assert repaired.trials[1].user_attrs["baseline"] is True
    assert states(repaired) == [TrialState.FAIL, TrialState.COMPLETE]


def test_ctrl_c_queues_the_trial_again_with_the_same_parameters(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise KeyboardInterrupt

    run_study(spec(tmp_path, trials=2))
    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, train, trials=3))
    study = run_study(spec(tmp_path, trials=3))
    interrupted, retried = study.trials[2:]
    assert (interrupted.state, retried.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert retried.params == interrupted.params
    assert retried.user_attrs["resume_of"] == 2


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from functools import partial
from study_support import fake_train, spec
from study_support import run_study
run_study(spec(Path({out!r}), partial(fake_train, seconds=1.0), trials=6))
"""


def test_sigkill_in_the_middle_loses_no_trial(tmp_path, repo_root):
    code = KILLED.format(root=str(repo_root), tests=str(repo_root / "tests" / "support"), out=str(tmp_path))
    database = tmp_path / "toy" / "study.db"
    for _ in range(2):
        before = len(load_trials(database))  # while nobody writes: a locked database reads as empty
        process = subprocess.Popen([sys.executable, "-c", code], cwd=repo_root)
        deadline = time.monotonic() + 180
        while not any(t.state == TrialState.RUNNING and t.intermediate_values for t in load_trials(database)[before:]):
            assert time.monotonic() < deadline, "the study did not report an epoch"
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    study = run_study(spec(tmp_path, trials=6))
    killed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert len(killed) == 2
    for trial in killed:
        retries = [t for t in study.trials if t.user_attrs.get("resume_of") == trial.number]
        assert [t.params for t in retries] == [trial.params]
    assert sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in study.trials) == 6
    assert TrialState.RUNNING not in states(study)
    measured = [t for t in study.trials if t.user_attrs.get("baseline") and t.state == TrialState.COMPLETE]
    assert [t.params for t in measured] == [{"lr": MeshHeadRun().optim.lr}], "the killed baseline lost its mark"
    assert json.loads((tmp_path / "toy" / "best.json").read_text())["baseline_value"] == measured[0].value


def load_trials(database):
    try:
        return optuna.load_study(study_name="toy", storage=f"sqlite:///{database}").trials if database.exists() else []
    except Exception:  # the writer is in the middle of creating its tables
        return []


def test_a_trial_killed_between_two_suggestions_keeps_all_queued_parameters(tmp_path):
    study = optuna.create_study()
    study.enqueue_trial({"lr": 1e-3, "batch_size": 2}, user_attrs={"baseline": True})
    trial = study.ask()
    trial.suggest_float("lr", 1e-4, 1e-2)
    requeue(study, study.trials[0], "killed")
    requeue_again = study.ask()
    assert requeue_again.suggest_float("lr", 1e-4, 1e-2) == 1e-3
    assert requeue_again.suggest_categorical("batch_size", [1, 2]) == 2
    assert requeue_again.user_attrs == {"baseline": True, "resume_of": 0}


def test_another_space_under_the_same_name_is_refused_with_the_difference(tmp_path):
    run_study(spec(tmp_path, trials=1))
    other = {"optimisation": {"lr": {"type": "float", "min": 1e-4, "max": 1e-2, "log": True}}}
    with pytest.raises(ConfigError, match=r"another search space.*lr: .*min 1e-05.* -> .*min 0\.0001.*--study-name"):
        run_study(spec(tmp_path, search_space=other))
    with pytest.raises(ConfigError, match=r"metric: val_loss -> psnr"):
        run_study(spec(tmp_path, metric="psnr"))


def test_a_metric_that_is_not_finite_never_reaches_the_storage(tmp_path):
    def train(config, run_dir, hooks, resume):
        for epoch, value in enumerate((0.5, float("nan"))):
            for hook in hooks:
                hook.on_epoch_end(FakeTrainer(), epoch, {"val_loss": value})

    with pytest.raises(RuntimeError, match=r"val_loss is nan after epoch 2"):
        run_study(spec(tmp_path, train))
    study = load_study(tmp_path / "toy")
    assert states(study) == [TrialState.FAIL] * 3
    assert all(trial.intermediate_values == {0: 0.5} for trial in study.trials)


def test_a_space_that_the_configuration_refuses_ends_before_any_trial(tmp_path):
    bad = {"optimisation": {"batch_size": {"type": "categorical", "choices": [1, 0]}}}
    with pytest.raises(ConfigError, match="batch_size = 0"):
        run_study(spec(tmp_path, search_space=bad))
    assert not (tmp_path / "toy").exists()


def test_pruners_and_samplers_by_name():
    median = make_pruner(Component(name="median"), 10)
    assert (median._n_startup_trials, median._n_warmup_steps, median._interval_steps) == (3, 5, 1)
    hyperband = make_pruner(Component(name="hyperband"), 30)
    assert (hyperband._min_resource, hyperband._max_resource, hyperband._reduction_factor) == (5, 30, 3)
    dotted = make_pruner(Component(name="optuna.pruners.PercentilePruner", kwargs={"percentile": 25.0}), 10)
    assert isinstance(dotted, optuna.pruners.PercentilePruner)
    assert isinstance(make_sampler(Component(name="tpe"), 1), optuna.samplers.TPESampler)
    for name in ("os.system", "nonsense", "optuna.pruners.os"):
        with pytest.raises(ConfigError, match=r"Unknown optuna\.pruners"):
            make_pruner(Component(name=name), 10)
    with pytest.raises(ConfigError, match="rejects"):
        make_pruner(Component(name="median", kwargs={"n_startup": 3}), 10)


def test_hyperband_study_ends_with_the_right_states(tmp_path):
    study = run_study(spec(tmp_path, trials=10, pruner={"name": "hyperband"}))
    assert set(states(study)) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(study.trials) == 10


def test_interrupted_trial_goes_on_from_its_last_epoch_with_the_same_curve(tmp_path):
    from gazegaussian.training.hooks import Hook

    class Interrupt(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    def interrupted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, Interrupt()], resume)

    whole = run_study(spec(tmp_path / "whole", line_train, trials=1))
    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path / "cut", interrupted, trials=1))
    epochs = []

    class Count(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            epochs.append(epoch)

    def counted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, Count()], resume)

    resumed = run_study(spec(tmp_path / "cut", counted, trials=1))
    assert epochs == [4, 5, 6, 7]
    assert resumed.trials[1].intermediate_values == whole.trials[0].intermediate_values
    assert resumed.trials[1].value == whole.trials[0].value

"""Budgets of a study, several objectives, constraints: the loop keeps what the study file says."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from study_support import FakeTrainer, fake_train, line_train, run_study, spec

from gazegaussian.errors import ConfigError
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TrainResult
from helpers import load_study, summary_rows
from helpers.results.trial_states import total_usage
from helpers.study import report_hook, stop
from helpers.study.stop import study_usage

NONE = {"pruner": {"name": "none"}}
COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL
WAITING = TrialState.WAITING


def states(study):
    return [trial.state for trial in study.trials]


def counted(log, config, run_dir, hooks, resume):
    """Train a line and note each epoch."""

    class Note(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            log.append(epoch)

    return line_train(config, run_dir, [Note(), *hooks], resume)


def test_epochs_over_all_trials_are_bounded_and_the_cut_trial_goes_on(tmp_path):
    log = []
    train = partial(counted, log)
    study = run_study(spec(tmp_path, train, trials=3, budget={"max_total_epochs": 20}, **NONE))
    assert len(log) == study_usage(study).epochs == 20
    assert states(study) == [COMPLETE, COMPLETE, FAIL, WAITING]
    assert "max_total_epochs 20" in study.user_attrs["stop_reason"]
    again = run_study(spec(tmp_path, train, trials=3, budget={"max_total_epochs": 20}, **NONE))
    assert (len(log), len(again.trials)) == (20, 4), "a spent budget buys nothing"
    rest = run_study(spec(tmp_path, train, trials=3, **NONE))
    assert log[20:] == [4, 5, 6, 7]
    assert study_usage(rest).epochs == 24, "inherited epochs were paid for once"
    assert states(rest) == [COMPLETE, COMPLETE, FAIL, COMPLETE]
    assert rest.user_attrs["stop_reason"] == "all 3 trials are finished"


def test_a_limit_met_by_the_last_epoch_of_a_trial_leaves_it_complete(tmp_path):
    study = run_study(spec(tmp_path, budget={"max_total_epochs": 16}, **NONE))
    assert states(study) == [COMPLETE, COMPLETE]


@pytest.mark.parametrize(
    ("last", "counted_before"), [(0, 1), (3, 3)]
)  # curves on disk count where nothing was reported
def test_an_epoch_that_was_saved_but_not_reported_is_counted_once(tmp_path, last, counted_before):
    class Killed(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            if epoch == last:
                raise KeyboardInterrupt

    def killed(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [Killed(), *hooks], resume)

    with pytest.raises(KeyboardInterrupt):
        run_study(spec(tmp_path, killed, trials=1))
    cut = load_study(tmp_path / "toy")
    assert study_usage(cut, tmp_path / "toy").epochs == study_usage(cut).epochs == counted_before
    assert summary_rows(cut)[0]["epochs"] == counted_before
    log = []
    study = run_study(spec(tmp_path, partial(counted, log), trials=1))
    assert log == list(range(last + 1, 8))
    assert total_usage(study.trials, tmp_path / "toy").epochs == study_usage(study).epochs == 8
    assert study.trials[1].user_attrs["inherited"]["epochs"] == counted_before
    assert study_usage(study).epochs == len(study.trials[1].intermediate_values) == 8


@pytest.mark.parametrize("limit", ["timeout", "max_compute"])
def test_seconds_end_a_study_in_the_middle_of_a_trial(tmp_path, limit, caplog, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(stop, "time", clock)
    monkeypatch.setattr(report_hook, "time", clock)

    class Second(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            now[0] += 1

    def slow(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [Second(), *hooks], resume)

    with caplog.at_level("INFO"):
        study = run_study(spec(tmp_path, slow, budget={limit: 3}, **NONE))
    assert states(study) == [FAIL, WAITING], "neither a result nor a loss"
    assert len(study.trials[0].intermediate_values) == 3
    assert limit in study.user_attrs["stop_reason"]
    assert len([record for record in caplog.records if "stops:" in record.message]) == 1


def test_the_calls_timeout_goes_before_the_study_files(tmp_path):
    from dataclasses import replace

    asked = replace(spec(tmp_path, partial(fake_train, seconds=0.02), trials=1, budget={"timeout": 0.01}), timeout=60)
    assert states(run_study(asked)) == [COMPLETE]


def test_compute_time_of_earlier_calls_counts(tmp_path):
    slow = partial(fake_train, seconds=0.02)
    first = run_study(spec(tmp_path, slow, trials=1, **NONE))
    seconds = study_usage(first).seconds
    assert seconds >= 8 * 0.02
    second = run_study(spec(tmp_path, slow, trials=2, budget={"max_compute": 0.9 * seconds}, **NONE))
    assert states(second) == [COMPLETE]


def test_seconds_of_a_continued_trial_are_those_of_all_processes(tmp_path):
    slow = partial(fake_train, seconds=0.05)
    cut = run_study(spec(tmp_path, slow, trials=1, budget={"max_total_epochs": 3}, **NONE))
    before = cut.trials[0].user_attrs["seconds"]
    whole = run_study(spec(tmp_path, partial(fake_train, seconds=0.0), trials=1, **NONE))
    assert before >= 0.15
    assert whole.trials[1].user_attrs["seconds"] > before
    assert study_usage(whole).seconds == pytest.approx(whole.trials[1].user_attrs["seconds"])


def test_a_trial_that_takes_too_long_fails_with_the_reason(tmp_path):
    slow = partial(fake_train, seconds=0.05)
    with pytest.raises(RuntimeError, match=r"2 trials failed in a row.*trial_timeout of 0\.1 s"):
        run_study(spec(tmp_path, slow, max_failures=2, budget={"trial_timeout": 0.1}, **NONE))
    study = load_study(tmp_path / "toy")
    assert states(study) == [FAIL, FAIL]
    assert all(1 <= len(t.intermediate_values) <= 2 for t in study.trials)


def test_no_trial_is_pruned_before_the_least_epochs(tmp_path):
    eager = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 0}}
    early = run_study(spec(tmp_path / "early", pruner=eager, trials=8))
    late = run_study(spec(tmp_path / "late", pruner=eager, trials=8, budget={"min_epochs": 6}))
    epochs = [
        [len(t.intermediate_values) for t in study.trials if t.state == TrialState.PRUNED] for study in (early, late)
    ]
    assert min(epochs[0]) < 6
    assert epochs[1]
    assert all(count >= 6 for count in epochs[1])


def sized_train(config, run_dir, hooks, resume, best_size=math.inf):
    """The best epoch is number 2; size grows, fps falls."""
    trainer = FakeTrainer()
    values = [0.5, 0.4, 0.1, 0.3]
    for hook in hooks:
        hook.on_fit_start(trainer)
    for epoch, value in enumerate(values):
        size = best_size if epoch == 2 and best_size != math.inf else float(epoch)
        for hook in hooks:
            hook.on_epoch_end(trainer, epoch, {"val_loss": value, "size": size, "fps": 30.0 - epoch})
    return TrainResult(0.1, 2, [], run_dir / "best.pt", run_dir / "last.pt")


SEVERAL = {"metric": ["val_loss", "size"], "direction": ["minimize", "maximize"], "epochs": 4}


def test_several_objectives_are_those_of_the_epoch_that_is_best_in_the_first(tmp_path):
    study = run_study(spec(tmp_path, sized_train, trials=3, constraints={"fps": ">= 29"}, **SEVERAL))
    assert [t.values for t in study.trials] == [[0.1, 2.0]] * 3
    assert all(t.constraints == {"fps": 1.0} for t in study.trials), "28 frames per second are 1 too few"
    assert study_usage(study).epochs == 12, "epochs count where nothing is reported too"


def test_an_objective_that_is_not_finite_fails_the_trial(tmp_path):
    train = partial(sized_train, best_size=math.nan)
    with pytest.raises(RuntimeError, match=r"size is nan in the best epoch 3"):
        run_study(spec(tmp_path, train, max_failures=1, **SEVERAL))
    assert load_study(tmp_path / "toy").trials[0].values is None


def test_constraints_of_pruned_trials_are_stored_too(tmp_path):
    def train(config, run_dir, hooks, resume):
        trainer = FakeTrainer()
        for hook in hooks:
            hook.on_fit_start(trainer)
        for epoch in range(8):
            for hook in hooks:
                hook.on_epoch_end(trainer, epoch, {"val_loss": int(run_dir.name[-1]) + epoch, "fps": 31.0 - epoch})
        return TrainResult(float(run_dir.name[-1]), 0, [], run_dir, run_dir)

    eager = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 0}}
    study = run_study(spec(tmp_path, train, trials=3, pruner=eager, constraints={"fps": ">= 30"}))
    assert states(study) == [COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert [t.constraints for t in study.trials] == [{"fps": -1.0}] * 3, "each at its best epoch, the first"


@pytest.mark.parametrize("wanted", [{"constraints": {"memory": "<= 3"}}, {"metric": "memory"}])
def test_what_is_not_measured_ends_the_study_with_the_names(tmp_path, wanted):
    with pytest.raises(ConfigError, match=r"memory is not measured; measured: fps, size, val_loss"):
        run_study(spec(tmp_path, sized_train, **wanted))

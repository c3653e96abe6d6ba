"""Budgets of a study, several objectives, constraints: the loop keeps what the study file says."""

import optuna
import pytest
from optuna.trial import TrialState
from test_study import request

from gazegaussian.errors import ConfigError
from helpers.budget import spent
from helpers.study import run_study

NONE = {"name": "none"}


def test_epochs_over_all_trials_are_bounded_and_the_rest_is_queued(tmp_path):
    study = run_study(request(tmp_path, pruner=NONE, budget={"max_total_epochs": 20}))
    assert spent(study) == (20, 40.0)
    assert [t.state for t in study.trials[:3]] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert study.trials[3].state == TrialState.WAITING, "the trial that was cut short goes on with a larger budget"
    assert "max_total_epochs 20" in study.user_attrs["stop_reason"]
    again = run_study(request(tmp_path, pruner=NONE, budget={"max_total_epochs": 20}))
    assert len(again.trials) == 4


def test_seconds_over_all_trials_are_bounded(tmp_path):
    study = run_study(request(tmp_path, pruner=NONE, budget={"max_compute": 30}))  # epochs of 2 s, trials of 16 s
    assert [t.state for t in study.trials if t.state.is_finished()] == [TrialState.COMPLETE, TrialState.FAIL]
    assert spent(study)[1] == pytest.approx(30)


def test_a_trial_that_takes_too_long_fails_alone(tmp_path):
    study_request = request(tmp_path, pruner=NONE, trials=2, max_failures=2, budget={"trial_timeout": 5})
    with pytest.raises(RuntimeError, match="trial_timeout is 5 s"):
        run_study(study_request)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/toy/study.db")
    assert [t.state for t in study.trials] == [TrialState.FAIL] * 2
    assert all(len(t.intermediate_values) <= 3 for t in study.trials)


def test_no_trial_is_pruned_before_the_least_epochs(tmp_path):
    eager = {"name": "median", "kwargs": {"n_startup_trials": 1, "n_warmup_steps": 0}}
    early = run_study(request(tmp_path / "early", pruner=eager, trials=8))
    late = run_study(request(tmp_path / "late", pruner=eager, trials=8, budget={"min_epochs": 6}))
    epochs = [
        [len(t.intermediate_values) for t in study.trials if t.state == TrialState.PRUNED] for study in (early, late)
    ]
    assert min(epochs[0]) < 6
    assert all(count >= 6 for count in epochs[1])


def test_several_objectives_are_told_without_pruning(tmp_path):
    several = {"metric": ["val_loss", "size"], "direction": ["minimize", "maximize"], "pruner": NONE}
    study = run_study(request(tmp_path, trials=3, **several))
    assert all(t.state == TrialState.COMPLETE and len(t.values) == 2 for t in study.trials)
    assert all(t.values[1] == 7.0 for t in study.trials), "the row of the epoch that is best by the first objective"
    assert study.best_trials


def test_constraints_are_stored_with_the_trial(tmp_path):
    study = run_study(request(tmp_path, trials=2, constraints={"size": "<= 3"}))
    assert all(t.constraints == {"size": 4.0} for t in study.trials)


def test_a_constraint_on_something_unmeasured_ends_the_study_with_the_names(tmp_path):
    with pytest.raises(ConfigError, match=r"fps is not measured; measured: .*val_loss"):
        run_study(request(tmp_path, constraints={"fps": ">= 30"}))


def test_checkpoints_of_all_but_the_best_are_thinned(tmp_path):
    study = run_study(request(tmp_path, trials=6, keep_best=2))
    left = {int(path.parent.name[-4:]) for path in (tmp_path / "toy").glob("trial_*/best.pt")}
    complete = sorted((t for t in study.trials if t.state == TrialState.COMPLETE), key=lambda t: t.value)
    assert len(study.trials) > 2
    assert left == {t.number for t in complete[:2]}

"""Importances: the planted parameter is found, the interval says how sure, and few trials say nothing."""

import random

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from helpers.importance import FEW_TRIALS, MAX_RESAMPLES, parameter_importances

UNIT = FloatDistribution(0.0, 1.0)


def planted(count, seed=0, conditional=False, value=lambda x: (x - 0.3) ** 2, directions=("minimize",)):
    """Trials whose value depends on `strong` alone."""
    study = optuna.create_study(directions=directions)
    study.set_user_attr("metric", "val_loss")
    generator = random.Random(seed)
    for number in range(count):
        parameters = {"strong": generator.random(), "idle": generator.random(), "kind": generator.choice("ab")}
        distributions = {"strong": UNIT, "idle": UNIT, "kind": CategoricalDistribution(("a", "b"))}
        if conditional and number % 2:
            parameters["sometimes"], distributions["sometimes"] = generator.random(), UNIT
        values = [value(parameters["strong"])] * len(directions)
        study.add_trial(create_trial(params=parameters, distributions=distributions, values=values))
    return study


@pytest.mark.parametrize("seed", range(2))
def test_the_planted_parameter_comes_first_and_its_interval_stands_apart(seed):
    found = parameter_importances(planted(30, seed))
    assert found.names[0] == "strong"
    first, others = found.parameters[0], found.parameters[1:]
    assert first.low > max(row.high for row in others)
    assert sum(row.value for row in found.parameters) == pytest.approx(1)
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in found.parameters)
    assert "fANOVA over 30 complete trials" in found.statement


def test_the_same_seed_gives_the_same_intervals_and_resamples_are_capped():
    study = planted(10)
    first, again = parameter_importances(study, 1000), parameter_importances(study, 1000)
    assert first == again
    assert f"{MAX_RESAMPLES} resamples" in first.statement
    assert first.parameters != parameter_importances(study, 2, seed=1).parameters


def test_more_trials_make_narrower_intervals():
    def width(count):
        row = next(r for r in parameter_importances(planted(count), 6).parameters if r.parameter == "idle")
        return row.high - row.low

    assert width(60) < width(12)


def test_too_few_trials_say_so_and_nothing_else():
    found = parameter_importances(planted(FEW_TRIALS - 1))
    assert found.parameters == ()
    assert found.statement.startswith("Too few trials: 9 complete")
    assert parameter_importances(planted(FEW_TRIALS), 2).parameters


def test_pruned_and_failed_trials_do_not_count():
    study = planted(FEW_TRIALS - 1)
    for state in (optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL):
        study.add_trial(create_trial(state=state, params={"strong": 0.5}, distributions={"strong": UNIT}))
    assert parameter_importances(study).trials == FEW_TRIALS - 1


def test_values_that_never_vary_give_a_reason():
    found = parameter_importances(planted(12, value=lambda x: 1.0))
    assert found.parameters == ()
    assert "all values are the same" in found.statement


def test_conditional_parameters_are_named():
    found = parameter_importances(planted(12, conditional=True), 2)
    assert "sometimes" not in found.names
    assert "Left out, since not every trial has it: sometimes." in found.statement


def test_several_objectives_are_looked_at_one_by_one():
    study = planted(12, directions=("minimize", "maximize"))
    study.set_user_attr("metric", ["gaze_error_deg", "psnr"])
    assert parameter_importances(study, 2, objective=1).metric == "psnr"


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_many_trials_use_the_fast_method_in_both_directions(direction, sign):
    study = planted(200, value=lambda x: sign * (x - 0.3) ** 2, directions=(direction,))
    found = parameter_importances(study, 2)
    assert found.names[0] == "strong"
    assert found.parameters[0].value > 0.8
    assert found.statement.startswith("PED-ANOVA over 200")

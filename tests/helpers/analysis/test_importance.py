"""Importances: known shares are found, intervals hold them, shuffled values set the level, and few trials say so."""

import random

import numpy as np
import optuna
import pytest
from importance_support import UNIT, planted
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.calibration.importances import FUNCTIONS, main, simulate, true_shares
from helpers.analysis.comparable_trials import comparable_trials
from helpers.analysis.importance import FEW_TRIALS, PAIRS, REST, parameter_importances
from helpers.analysis.scales import searched_scale


def held(importances, truth):
    """Share of the intervals that hold the true shares; 0 counts as held from 0.01 down."""
    true = {**truth.mains, PAIRS: truth.pairs, REST: truth.rest}
    return np.mean([row.low - 0.01 <= true[row.parameter] <= row.high + 0.01 for row in importances.shares])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_intervals_hold_known_shares(name):
    truth = true_shares(FUNCTIONS[name])
    importances = [parameter_importances(simulate(FUNCTIONS[name], 30, seed)) for seed in range(4)]
    assert np.mean([held(one, truth) for one in importances]) >= 0.85
    assert all(sum(row.value for row in one.shares) == pytest.approx(1) for one in importances)


@pytest.mark.parametrize("trials", [199, 200])
def test_the_same_quantity_is_estimated_at_every_number_of_trials(trials):
    known = FUNCTIONS["logarithmic"]
    shares = {row.parameter: row.value for row in parameter_importances(simulate(known, trials, 1)).shares}
    truth = true_shares(known).mains
    assert all(shares[name] == pytest.approx(truth[name], abs=0.08) for name in truth)


@pytest.mark.parametrize("seed", range(2))
def test_the_planted_parameter_comes_first_and_its_interval_stands_apart(seed):
    importances = parameter_importances(planted(30, seed))
    assert importances.clear == ["strong"]
    assert importances.parameters[0].low > max(row.high for row in importances.parameters[1:])
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in importances.shares)
    assert "30 complete trials" in importances.statement
    assert f"out-of-bag R2 {importances.out_of_bag:.2f}" in importances.statement


def test_noise_is_noise_and_the_trials_are_said_not_to_tell():
    importances = [
        parameter_importances(simulate(FUNCTIONS["noise"], trials, seed)) for trials in (12, 30) for seed in (0, 1)
    ]
    assert not any(one.telling for one in importances)
    assert all("do not tell" in one.statement for one in importances)
    assert all(row.low == 0 for one in importances for row in one.parameters)
    assert not any(one.clear for one in importances)


@pytest.mark.parametrize("seed", range(3))
def test_where_the_trials_do_not_tell_no_share_is_excluded(seed):
    """A fast oscillation is nearly all of the variance and looks like noise."""
    importances = parameter_importances(simulate(FUNCTIONS["oscillation"], 30, seed))
    assert not importances.telling
    assert {(row.low, row.high) for row in importances.shares} == {(0.0, 1.0)}
    assert "Every share may be anything from 0 to 1." in importances.statement


def test_a_pair_is_no_parameter_of_its_own():
    importances = parameter_importances(simulate(FUNCTIONS["interaction"], 40, 0))
    assert importances.pairs.value > 0.8
    assert max(row.value for row in importances.parameters) < 0.1


def test_the_same_seed_gives_the_same_numbers():
    study = planted(10)
    assert parameter_importances(study) == parameter_importances(planted(10))
    assert parameter_importances(study).parameters != parameter_importances(study, seed=1).parameters


def test_more_trials_make_narrower_intervals():
    def width(count):
        row = next(r for r in parameter_importances(planted(count)).parameters if r.parameter == "idle")
        return row.high - row.low

    assert width(60) < width(12)


def test_too_few_trials_say_so_and_nothing_else():
    importances = parameter_importances(planted(FEW_TRIALS - 1))
    assert importances.parameters == ()
    assert importances.statement.startswith("Too few trials: 3 complete trials")
    assert parameter_importances(planted(FEW_TRIALS)).parameters


def test_failed_trials_and_pruned_ones_without_values_do_not_count():
    study = planted(FEW_TRIALS - 1)
    for state in (TrialState.PRUNED, TrialState.FAIL):
        study.add_trial(create_trial(state=state, params={"strong": 0.5}, distributions={"strong": UNIT}))
    assert parameter_importances(study).trials == FEW_TRIALS - 1


def diverging(trials, epochs_before):
    """Random studies of two parameters; where lr is large the training fails after some epochs."""
    generator = np.random.default_rng(0)
    study = optuna.create_study()
    study.set_user_attr("metric", "val_loss")
    for _ in range(trials):
        lr, w = generator.uniform(size=2)
        curve = {epoch: 2 * max(lr - 0.6, 0) + 0.1 * w + 1 / (1 + epoch) for epoch in range(6)}
        failed = lr > 0.7
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if failed else TrialState.COMPLETE,
                value=None if failed else min(curve.values()),
                params={"lr": lr, "w": w},
                distributions={"lr": UNIT, "w": UNIT},
                intermediate_values=dict(list(curve.items())[:epochs_before]) if failed else curve,
            )
        )
    return study


def test_failed_trials_are_valued_where_they_got_or_named():
    reached = parameter_importances(diverging(30, 3))
    assert "failed), each valued at its best up to epoch 3" in reached.statement
    assert "At the end of training they may be others." in reached.statement
    assert reached.label == "val_loss, best up to epoch 3"
    assert reached.clear[0] == "lr"
    never = parameter_importances(diverging(30, 0))
    assert not never.telling
    assert not never.clear
    assert "failed ones are missing, and what made them fail is not in these shares" in never.statement


def with_infinite(study, count, reported=()):
    """Add complete trials of infinite value."""
    for like in study.trials[:count]:
        study.add_trial(
            create_trial(
                value=float("inf"), params=like.params, distributions=like.distributions,
                intermediate_values=dict(enumerate(reported)),
            )
        )  # fmt: skip
    return study


def test_infinite_values_are_left_out_and_counted():
    importances = parameter_importances(with_infinite(planted(30, 0), 1))
    assert importances.clear == ["strong"]
    assert importances.parameters == parameter_importances(planted(30, 0)).parameters
    assert "from 30 complete trials (1 of infinite value left out)" in importances.statement
    many = parameter_importances(with_infinite(planted(30, 0), 9))
    assert not many.telling, "what made them diverge is not known"
    assert "9 of infinite value are missing, and what made them fail is not in these shares" in many.statement


def test_infinite_values_that_reported_finite_ones_are_valued_where_they_got():
    compared = comparable_trials(with_infinite(curves_study([6] * 6), 3, reported=(9.0, 7.0, float("inf"))))
    assert (compared.epoch, len(compared.trials), compared.infinite_left_out) == (2, 9, 0)
    assert list(compared.values[-3:]) == [7.0] * 3


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_values_whose_squares_are_no_numbers_give_the_same_shares(scale):
    importances = parameter_importances(planted(12, value=lambda x: scale * x))
    assert importances.telling
    assert importances.clear == ["strong"]


def test_trials_that_tell_of_no_single_parameter_say_so():
    importances = parameter_importances(simulate(FUNCTIONS["interaction"], 40, 0))
    assert importances.telling
    assert not importances.clear
    assert "No parameter is clear of that." in importances.statement


def test_values_that_never_vary_give_a_reason():
    importances = parameter_importances(planted(12, value=lambda x: 1.0))
    assert importances.parameters == ()
    assert "all values are the same" in importances.statement


def test_conditional_parameters_are_named():
    importances = parameter_importances(planted(12, conditional=True))
    assert "sometimes" not in importances.names
    assert "Left out, since not every trial has it: sometimes." in importances.statement


def test_several_objectives_are_looked_at_one_by_one():
    study = planted(12, directions=("minimize", "maximize"))
    study.set_user_attr("metric", ["gaze_error_deg", "psnr"])
    assert parameter_importances(study, objective=1).metric == "psnr"


def curves_study(lengths, direction="minimize", epochs=6):
    """A trial per length, pruned when it is shorter than the whole; values fall by 1 an epoch from 10 times the number."""
    study = optuna.create_study(direction=direction)
    study.set_user_attr("metric", "val_loss")
    for number, length in enumerate(lengths):
        curve = {epoch: 10.0 * number - epoch for epoch in range(length)}
        whole = length == epochs
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if whole else TrialState.PRUNED, value=min(curve.values()),
                params={"x": number / len(lengths)}, distributions={"x": UNIT}, intermediate_values=curve,
            )
        )  # fmt: skip
    return study


@pytest.mark.parametrize(
    ("lengths", "epoch", "numbers"),
    [
        ((6, 6, 6, 6, 2), None, [0, 1, 2, 3]),  # enough complete ones
        ((6, 3, 3, 2, 6), 3, [0, 1, 2, 4]),  # 4 of 5 reached the third epoch
        ((2, 2, 2, 2, 6), 2, [0, 1, 2, 3, 4]),
    ],
)
def test_trials_are_compared_at_the_last_epoch_that_most_of_them_reached(lengths, epoch, numbers):
    for direction, best in (("minimize", lambda curve: min(curve)), ("maximize", lambda curve: max(curve))):
        study = curves_study(lengths, direction)
        compared = comparable_trials(study)
        assert (compared.epoch, [trial.number for trial in compared.trials]) == (epoch, numbers)
        assert compared.pruned_left_out == len(lengths) - len(numbers)
        if epoch:
            curves = [[study.trials[number].intermediate_values[e] for e in range(epoch)] for number in numbers]
            assert list(compared.values) == [best(curve) for curve in curves]


@pytest.mark.parametrize(
    "space",
    [
        CategoricalDistribution((64, 128, 256)),
        CategoricalDistribution(("a", "b", "c", "d")),
        IntDistribution(1, 8),
        IntDistribution(2, 8, step=2),
        FloatDistribution(0.0, 1.0, step=0.25),
        IntDistribution(1, 16, log=True),
        FloatDistribution(1e-5, 1e-2, log=True),
        UNIT,
    ],
)
def test_functions_are_orthonormal_over_what_a_random_search_draws(space):
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    values = [study.ask({"x": space}).params["x"] for _ in range(6000)]
    functions = searched_scale(space, values).functions
    gram = functions.T @ functions / len(functions)
    assert np.abs(gram - np.eye(len(gram))).max() < 0.12
    assert np.abs(functions.mean(axis=0)).max() < 0.06


def test_the_order_of_choices_without_order_does_not_matter():
    kinds = ("conv", "dit", "mlp")
    others = ("mlp", "conv", "dit")
    generator = random.Random(0)
    values = [generator.choice(kinds) for _ in range(9)]
    one, other = (searched_scale(CategoricalDistribution(order), values).functions for order in (kinds, others))
    assert one @ one.T == pytest.approx(other @ other.T)


def test_the_benchmark_prints_a_table(capsys):
    main(["--studies", "2", "--trials", "12", "--functions", "logarithmic"])
    text = capsys.readouterr().out
    assert "| trials | lr | w | idle | pairs | rest | tell |" in text
    assert "| 12 | 0.78 / " in text

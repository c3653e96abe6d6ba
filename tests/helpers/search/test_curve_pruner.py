"""A trial is pruned when it promises little for its remaining epochs, and never by an epoch that tells nothing."""

import doctest
import pickle

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from pruner_support import LR, planted

from gazegaussian.errors import ConfigError
from helpers.search import curve_pruner
from helpers.search.curve_pruner import CurvePruner, Finished, Prediction, expected_improvement, predict_final
from helpers.search.samplers_and_pruners import make_pruner
from helpers.search.study_config import Component

EPOCHS = 8
T = np.arange(EPOCHS)
FINALS = [0.50, 0.40, 0.45, 0.30, 0.60, 0.35]


def telling(final):
    """Every epoch ranks as the last one does."""
    return final + np.exp(-0.5 * T) - np.exp(-0.5 * T[-1])


def silent_first(final, noise):
    """The first epoch is noise, the others tell."""
    curve = telling(final)
    curve[0] = 2.0 + noise
    return curve


def pruned_after(study, pruner, curve):
    """Epochs after which a further trial would be pruned; None when it is trained to its end."""
    trial = study.ask(LR)
    for epoch, value in enumerate(curve):
        trial.report(float(value), epoch)
        if pruner.prune(study, study.trials[trial.number]):
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1
    study.tell(trial, state=TrialState.FAIL)
    return None


def test_where_every_epoch_tells_a_bad_trial_ends_after_the_first():
    study = planted([telling(final) for final in FINALS])
    assert pruned_after(study, CurvePruner(EPOCHS), telling(0.7)) == 1
    assert pruned_after(study, CurvePruner(EPOCHS), telling(0.31)) is None, "it may still be the best"
    assert pruned_after(study, CurvePruner(EPOCHS), telling(0.2)) is None


@pytest.mark.parametrize("noise", [-0.5, 0.0, 0.5])
def test_an_epoch_that_tells_nothing_does_not_prune(noise):
    """The median pruner without warm-up prunes half of all trials here, whatever they would have become."""
    noises = np.random.default_rng(0).normal(scale=0.3, size=12)
    finals = np.random.default_rng(1).uniform(0.3, 0.6, size=12)
    study = planted([silent_first(*pair) for pair in zip(finals, noises, strict=True)])
    assert pruned_after(study, CurvePruner(EPOCHS), silent_first(0.2, noise)) is None
    assert pruned_after(study, CurvePruner(EPOCHS), silent_first(0.9, noise)) == 2
    hasty = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=0)
    assert pruned_after(study, hasty, silent_first(0.2, 0.5)) == 1


def test_curves_that_cross_prune_nobody_who_overtakes():
    """Slow starters end best: the value of epoch 1 foretells the end with the opposite sign."""
    rates = np.linspace(0.1, 1.0, 10)
    curves = [1.0 - rate * T / EPOCHS + (0.8 * rate if rate > 0.5 else 0.0) * (T < 3) for rate in rates]
    study = planted(curves)
    winner = 1.0 - 1.1 * T / EPOCHS + 0.88 * (T < 3)
    assert pruned_after(study, CurvePruner(EPOCHS), winner) is None


def test_a_smaller_share_prunes_less():
    rng = np.random.default_rng(3)
    curves = [telling(final) + 0.05 * rng.normal(size=EPOCHS) for final in rng.uniform(0.3, 0.7, size=15)]
    study = planted(curves)
    others = [telling(final) + 0.05 * rng.normal(size=EPOCHS) for final in np.linspace(0.3, 0.6, 12)]
    trained = {}
    for share in (0.01, 0.25, 1.0):
        ends = [pruned_after(study, CurvePruner(EPOCHS, share=share), curve) for curve in others]
        trained[share] = sum(end or EPOCHS for end in ends)
    assert trained[0.01] > trained[0.25] > trained[1.0]


def test_startup_and_the_last_epoch():
    few = planted([telling(final) for final in FINALS[:3]])
    assert pruned_after(few, CurvePruner(EPOCHS), telling(9.0)) is None
    assert pruned_after(few, CurvePruner(EPOCHS, startup_trials=3), telling(9.0)) == 1
    study = planted([telling(final) for final in FINALS])
    trial = study.ask(LR)
    for epoch, value in enumerate(telling(9.0)):
        trial.report(float(value), epoch)
    assert not CurvePruner(EPOCHS).prune(study, study.trials[trial.number]), "at its end nothing is saved"
    silent = study.ask(LR).number
    assert not CurvePruner(EPOCHS).prune(study, study.trials[silent]), "nothing was reported yet"


def test_pruned_and_failed_trials_are_no_finished_curves():
    study = planted([telling(final) for final in FINALS[:2]])
    for state in (TrialState.PRUNED, TrialState.FAIL) * 3:
        trial = study.ask(LR)
        trial.report(0.1, 0)
        study.tell(trial, state=state)
    assert pruned_after(study, CurvePruner(EPOCHS), telling(9.0)) is None


def test_trials_that_end_early_teach_the_epochs_that_they_have():
    short = [telling(final)[:3] for final in FINALS]
    assert pruned_after(planted(short), CurvePruner(EPOCHS), telling(2.0)) == 1
    late = np.concatenate([telling(0.31)[:3], np.full(EPOCHS - 3, 0.9)])
    assert pruned_after(planted(short), CurvePruner(EPOCHS), late) is None, "none of them knows epoch 4"
    long = [telling(final) for final in FINALS]
    assert pruned_after(planted([*short, *long[:3]]), CurvePruner(EPOCHS), late) == 4


def test_only_a_feasible_trial_is_the_one_to_beat():
    curves = [telling(final) for final in FINALS]
    middling = telling(0.47)
    assert pruned_after(planted(curves), CurvePruner(EPOCHS), middling) == 1
    best_are_infeasible = [1.0 if final < 0.46 else -1.0 for final in FINALS]
    assert pruned_after(planted(curves, constraints=best_are_infeasible), CurvePruner(EPOCHS), middling) is None
    assert pruned_after(planted(curves, constraints=[1.0] * 6), CurvePruner(EPOCHS), telling(9.0)) is None


def test_running_trials_change_nothing_and_a_new_process_decides_alike(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = planted([telling(final) for final in FINALS], storage=url)
    running = []
    for final in (0.7, 0.31):
        trial = study.ask(LR)
        trial.report(float(telling(final)[0]), 0)
        running.append(trial.number)
    again = optuna.load_study(study_name="planted", storage=url)
    pruner = pickle.loads(pickle.dumps(CurvePruner(EPOCHS)))
    assert [pruner.prune(again, again.trials[number]) for number in running] == [True, False]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(-10, 10, width=32), min_size=8, max_size=8), min_size=5, max_size=8))
def test_maximising_is_minimising_the_mirror_image(curves):
    *others, own = curves
    down = pruned_after(planted(others), CurvePruner(EPOCHS), own)
    mirrored = planted([[-value for value in curve] for curve in others], "maximize")
    assert pruned_after(mirrored, CurvePruner(EPOCHS), [-value for value in own]) == down


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.floats(0, 10, width=32), min_size=8, max_size=8), min_size=4, max_size=8),
    st.lists(st.floats(0, 10, width=32), min_size=8, max_size=8),
)
def test_a_trial_that_holds_the_best_value_is_never_pruned(others, own):
    end = pruned_after(planted(others), CurvePruner(EPOCHS, share=1.0), own)
    best = min(min(curve) for curve in others)
    assert end is None or min(own[:end]) > best


def test_where_all_results_are_equal_an_equal_trial_goes_on_and_a_worse_one_does_not():
    study = planted([telling(0.5)] * 6)
    assert pruned_after(study, CurvePruner(EPOCHS), telling(0.9)) in (1, 2)
    level = planted([np.full(EPOCHS, 0.5)] * 6)
    assert pruned_after(level, CurvePruner(EPOCHS), np.full(EPOCHS, 0.5)) is None
    assert expected_improvement(0.0, Prediction(1.0, 0.0)) == 0.0
    assert expected_improvement(0.0, Prediction(-1.0, 0.0)) == 1.0
    assert expected_improvement(0.0, Prediction(1e9, 1e-300)) == 0.0


def test_the_prediction_holds_the_final_value_as_often_as_its_spread_says():
    rng = np.random.default_rng(5)
    z = []
    for _ in range(400):
        final = rng.normal(size=13)
        present = 1.0 + 0.7 * final + 0.3 * rng.normal(size=13)
        finished = [Finished({0: x}, y, True) for x, y in zip(present[:12], final[:12], strict=True)]
        prediction = predict_final(0, {0: present[12] + 0.0}, finished)
        z.append((final[12] - prediction.mean) / np.sqrt(prediction.variance))
    assert 0.85 < np.mean(np.abs(z) < 1.96) <= 1.0
    assert 0.6 < np.std(z) < 1.2
    assert predict_final(1, {1: 0.0}, finished) is None, "no finished trial has this epoch"


def test_it_is_reached_by_name_and_bad_arguments_are_told():
    made = make_pruner(Component(name="curve", kwargs={"share": 0.5}), 12)
    assert isinstance(made, CurvePruner)
    assert (made.target_epoch, made.share) == (12, 0.5)
    dotted = make_pruner(Component(name="helpers.search.curve_pruner.CurvePruner"), 7)
    assert dotted.target_epoch == 7
    for wrong in ({"share": 0}, {"share": 2}, {"startup_trials": 2}, {"target_epoch": 0}, {"kappa": 1}):
        with pytest.raises(ConfigError, match=f"rejects.*{next(iter(wrong))}"):
            make_pruner(Component(name="curve", kwargs=wrong), 12)


def test_in_a_study_it_saves_epochs_and_keeps_the_best():
    rng = np.random.default_rng(2)
    finals = rng.permutation(np.linspace(0.2, 1.2, 40))
    study = optuna.create_study(pruner=CurvePruner(EPOCHS), sampler=optuna.samplers.RandomSampler(seed=0))
    trained = 0
    for final in finals:
        trial = study.ask(LR)
        for epoch, value in enumerate(telling(final) + 0.01 * rng.normal(size=EPOCHS)):
            trial.report(float(value), epoch)
            trained += 1
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(final))
    assert trained < 0.5 * EPOCHS * len(finals)
    assert study.best_trial.number == int(np.argmin(finals))


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(curve_pruner).failed == 0
    assert doctest.testmod(curve_pruner).attempted == 3

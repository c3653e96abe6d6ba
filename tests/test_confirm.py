"""Confirmation and continued pruned trials, with trainings whose noise and effect are planted."""

import json
import math
import random
import shutil
import statistics
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from test_study import FakeTrainer, fake_train, request

from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.trainer import TrainResult
from helpers import best_trial, run_study
from helpers.confirm import bootstrap, confirm_study, load_confirm
from helpers.continued import continue_pruned, load_continued

BASE_LR = 1e-3


class Planted:
    """A training whose metric is `10 + noise(seed, lr) - effect`, the effect for every lr but the baseline's."""

    def __init__(self, effect, noise, shared=0.0):
        self.effect, self.noise, self.shared, self.calls = effect, noise, shared, []

    def __call__(self, config, run_dir, hooks, resume):
        seed, lr = config.training.seed, config.optim.lr
        self.calls.append((run_dir.name, seed, resume))
        own, common = random.Random(f"{seed} {lr}").gauss(0, 1), random.Random(f"{seed}").gauss(0, 1)
        value = 10 + self.noise * own + self.shared * common - (self.effect if lr != BASE_LR else 0)
        for hook in hooks:
            hook.on_epoch_end(FakeTrainer(), 0, {config.training.monitor: value})
        history = [{"epoch": 0.0, config.training.monitor: value, "seconds": 2.0}]
        return TrainResult(value, 0, history, run_dir / "best.pt", run_dir / "last.pt")


def studied(tmp_path, train, **changes):
    asked = request(tmp_path, train, **{"trials": 4, "pruner": {"name": "none"}, **changes})
    run_study(asked)
    return asked


def test_a_planted_gain_is_confirmed_and_its_size_is_measured(tmp_path):
    train = Planted(effect=1.0, noise=0.2)
    asked = studied(tmp_path, train)
    report = confirm_study(asked, top=2, seeds=5)
    assert len(report.configurations) == 3
    assert report.configurations[-1].is_baseline
    assert report.best.probability > 0.99
    assert report.best.improvement == pytest.approx(1.0, abs=0.4)
    assert report.best.improvement_low < report.best.improvement < report.best.improvement_high
    assert report.best.wins == report.best.pairs == 5
    assert "> 0.999 (paired bootstrap over 5 seeds)" in report.statement
    assert "promise" not in report.statement
    assert "3.1% of cases" in report.statement, "five wins of five are no certainty"
    assert load_confirm(asked.folder) == report
    assert report.best.mean == pytest.approx(statistics.fmean(report.best.values))


def test_without_an_effect_the_probability_is_about_one_half_on_average():
    chances = []
    for seed in range(200):
        generator = random.Random(seed)
        chances.append(bootstrap([generator.gauss(0, 1) for _ in range(5)], seed=seed, resamples=500)[0])
    assert statistics.fmean(chances) == pytest.approx(0.5, abs=0.08)
    assert bootstrap([0.0] * 5)[0] == 0.5


def test_a_winner_by_luck_is_found_out(tmp_path):
    """The study picks the luckiest of 12; with fresh seeds less is left of its lead."""
    asked = studied(tmp_path, Planted(effect=0.0, noise=1.0), trials=12)
    baseline, winner = run_study(asked).trials[0], best_trial(run_study(asked))
    report = confirm_study(asked, top=1, seeds=20)
    found = next(row for row in report.configurations if not row.is_baseline)
    claimed = baseline.value - winner.value
    assert claimed > 0.5
    assert found.improvement < claimed


def test_pairs_take_out_the_noise_that_a_seed_gives_to_all(tmp_path):
    asked = studied(tmp_path, Planted(effect=0.3, noise=0.02, shared=2.0))
    report = confirm_study(asked, top=1, seeds=5)
    assert report.baseline.std > 1.0
    assert report.best.improvement_std < 0.1
    assert report.best.probability > 0.99


def test_all_configurations_get_the_same_fresh_seeds(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)
    study_seeds = {seed for _, seed, _ in train.calls}
    train.calls.clear()
    report = confirm_study(asked, top=2, seeds=3)
    assert not study_seeds & set(report.seeds)
    names = {row.name for row in report.configurations}
    assert {name for name, _, _ in train.calls} == {f"{name}_seed{seed}" for name in names for seed in report.seeds}


def test_finished_trainings_are_read_and_an_interrupted_one_goes_on(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)
    whole = confirm_study(replace(asked, out=tmp_path), top=1, seeds=3)
    shutil.rmtree(asked.folder / "confirm")
    train.calls.clear()

    def cut(config, run_dir, hooks, resume):
        if len(train.calls) == 3:
            (run_dir / "last.pt").write_bytes(b"epoch 1")
            raise KeyboardInterrupt
        return train(config, run_dir, hooks, resume)

    with pytest.raises(KeyboardInterrupt):
        confirm_study(asked, top=1, seeds=3, train=cut)
    before = list(train.calls)
    again = confirm_study(asked, top=1, seeds=3)
    assert again == whole
    assert len(train.calls) == 6, "a finished training was repeated"
    assert [resume for _, _, resume in train.calls] == [False] * 3 + [True] + [False] * 2
    assert "Of 3 seeds interval and probability promise far more than they keep" in again.statement
    more = confirm_study(asked, top=1, seeds=4)
    assert len(train.calls) == 8
    assert more.best.values[:3] == whole.best.values
    assert len(before) == 3


def test_what_another_configuration_left_is_not_taken_for_this_one(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)
    confirm_study(asked, top=1, seeds=2)
    path = next((asked.folder / "confirm").glob("baseline_seed*/run.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "key": "other", "run": {**content["run"], "value": -100.0}}))
    train.calls.clear()
    report = confirm_study(asked, top=1, seeds=2)
    assert len(train.calls) == 1
    assert -100.0 not in report.baseline.values


def test_a_failed_training_is_left_out_with_its_pair(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)

    def diverging(config, run_dir, hooks, resume):
        if config.training.seed == 2 and config.optim.lr != BASE_LR:
            raise NonFiniteError("loss is nan")
        return train(config, run_dir, hooks, resume)

    report = confirm_study(asked, top=1, seeds=3, train=diverging)
    assert report.best.pairs == 2
    assert report.best.values[1] is None
    assert report.rows()[0]["finished"] == "2 of 3"


def test_a_baseline_that_won_is_compared_with_the_best_other(tmp_path):
    asked = studied(tmp_path, Planted(effect=-5.0, noise=0.1))
    report = confirm_study(asked, top=1, seeds=2)
    assert [row.is_baseline for row in report.configurations] == [True, False]
    assert "no better than the baseline's" in report.statement


def test_a_baseline_alone_confirms_nothing(tmp_path):
    asked = studied(tmp_path, Planted(effect=1.0, noise=0.1), trials=1)
    report = confirm_study(asked, top=1, seeds=2)
    assert [row.name for row in report.configurations] == ["baseline"]
    assert "nothing can be confirmed" in report.statement


def test_larger_is_better_mirrors(tmp_path):
    train = Planted(effect=-1.0, noise=0.1)
    asked = studied(tmp_path, train, direction="maximize")
    report = confirm_study(asked, top=1, seeds=4)
    assert report.best.improvement == pytest.approx(1.0, abs=0.3)
    assert report.best.probability > 0.99
    assert report.configurations[-1].is_baseline


def test_a_loser_is_not_called_better(tmp_path):
    """It won the study by luck: the planted effect is against it."""
    asked = studied(tmp_path, lambda config, *rest: Planted(3.0, 0.1)(config, *rest))
    report = confirm_study(asked, top=1, seeds=4, train=Planted(effect=-1.0, noise=0.1))
    assert report.best.improvement < 0
    assert report.configurations[0].is_baseline
    assert "no better than the baseline's" in report.statement
    assert report.rows()[1]["probability better"] == "< 0.001"


def test_one_seed_says_nothing_about_noise(tmp_path):
    report = confirm_study(studied(tmp_path, Planted(1.0, 0.1)), top=1, seeds=1)
    assert report.best.probability is None
    assert "nothing can be said" in report.statement


def test_a_folder_will_do_and_bad_input_is_one_line(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)
    report = confirm_study(asked.folder, top=1, seeds=2, train=train, check=lambda config: None)
    assert report == confirm_study(asked, top=1, seeds=2)
    for bad in ({"top": 0}, {"seeds": 0}):
        with pytest.raises(ConfigError, match="at least one"):
            confirm_study(asked, **bad)
    with pytest.raises(ConfigError, match="No study at"):
        confirm_study(tmp_path / "nowhere", train=train, check=lambda config: None)


def late(config, run_dir, hooks, resume):
    """As `fake_train`, but a large lr looks hopeless at first and ends best of all."""
    if config.optim.lr < 3e-3:
        return fake_train(config, run_dir, hooks, resume)
    run_dir.mkdir(parents=True, exist_ok=True)
    begin = int((run_dir / "last.pt").read_text()) if resume else 0
    values = [100.0 - 15 * epoch for epoch in range(config.training.epochs)]
    for epoch in range(begin, len(values)):
        (run_dir / "last.pt").write_text(str(epoch + 1))
        for hook in hooks:
            hook.on_epoch_end(FakeTrainer(), epoch, {config.training.monitor: values[epoch]})
    (run_dir / "begun").write_text(str(begin))
    history = [{"val_loss": value, "seconds": 1.0} for value in values]
    return TrainResult(values[-1], len(values) - 1, history, run_dir / "best.pt", run_dir / "last.pt")


def test_a_pruned_trial_that_would_have_won_is_found(tmp_path):
    asked = request(tmp_path, late, trials=14)
    study = run_study(asked)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    losers = {t.number for t in pruned if t.params["lr"] >= 3e-3}
    assert losers, "nothing was planted"
    assert len(pruned) > len(losers)
    before = {p: p.read_bytes() for t in pruned for p in (asked.folder / f"trial_{t.number:04d}").glob("*.pt")}
    report = continue_pruned(asked, share=1.0)
    assert {row.trial for row in report.trials if row.beats_winner} == losers
    assert f"{len(losers)} of {len(pruned)} continued trials would have beaten the winner" in report.statement
    assert "all pruned ones" in report.statement
    number = min(losers)
    begun = asked.folder / "continued" / f"trial_{number:04d}" / "begun"
    assert int(begun.read_text()) == len(study.trials[number].intermediate_values), "it did not go on where it stopped"
    assert {p: p.read_bytes() for p in before} == before, "the original trials were touched"
    assert [t.state for t in run_study(asked).trials] == [t.state for t in study.trials]
    assert load_continued(asked.folder) == report


def test_a_share_is_seeded_and_finished_ones_are_read(tmp_path):
    asked = request(tmp_path, trials=12)
    study = run_study(asked)
    pruned = sum(t.state == TrialState.PRUNED for t in study.trials)
    assert pruned > 3
    report = continue_pruned(asked, share=0.1)
    assert len(report.trials) == math.ceil(0.1 * pruned) < pruned
    assert report.lost == 0
    assert "might (95% interval)" in report.statement

    def never(*arguments):
        raise AssertionError("trained again")

    assert continue_pruned(asked, share=0.1, train=never) == report
    larger = continue_pruned(asked, share=0.5)
    assert {row.trial for row in report.trials} < {row.trial for row in larger.trials}
    with pytest.raises(ConfigError, match="above 0"):
        continue_pruned(asked, share=0.0)

"""Confirmation and continued pruned trials, with trainings whose noise and effect are planted."""

import json
import math
import random
import shutil
import statistics
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from study_support import FakeTrainer, fake_train, run_study, spec

from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.trainer import TrainResult
from helpers import best_trial
from helpers.analysis.confirm import confirm_study, load_confirm
from helpers.analysis.continue_pruned import continue_pruned, load_continued
from helpers.analysis.shares import largest_count
from helpers.analysis.test_people import TestPeople
from helpers.reporting.findings import gain, headline

BASE_LR = 1e-3
SMALL_LR = 1e-4


class Planted:
    """A training whose metric is `10 + noise(seed, lr) - effect`, the effect for every lr but the baseline's."""

    def __init__(self, effect, noise, shared=0.0):
        self.effect = effect
        self.noise = noise
        self.shared = shared
        self.calls = []

    def __call__(self, config, run_dir, hooks, resume):
        seed = config.training.seed
        lr = config.optim.lr
        self.calls.append((run_dir.name, seed, resume))
        own = random.Random(f"{seed} {lr}").gauss(0, 1)
        common = random.Random(f"{seed}").gauss(0, 1)
        value = 10 + self.noise * own + self.shared * common - (self.effect if lr != BASE_LR else 0)
        for hook in hooks:
            hook.on_epoch_end(FakeTrainer(), 0, {config.training.monitor: value})
        history = [{"epoch": 0.0, config.training.monitor: value, "seconds": 2.0}]
        return TrainResult(value, 0, history, run_dir / "best.pt", run_dir / "last.pt")


def studied(tmp_path, train, **changes):
    asked = spec(tmp_path, train, **{"trials": 4, "pruner": {"name": "none"}, **changes})
    run_study(asked)
    return asked


def test_a_planted_gain_is_confirmed_and_its_size_is_measured(tmp_path):
    train = Planted(effect=1.0, noise=0.2)
    asked = studied(tmp_path, train)
    report = confirm_study(asked, top=2, seeds=5)
    assert len(report.configurations) == 3
    assert report.configurations[-1].is_baseline
    assert report.best.gain.probability > 0.99
    assert report.best.gain.mean == pytest.approx(1.0, abs=0.4)
    assert report.best.gain.low < report.best.gain.mean < report.best.gain.high
    assert report.best.gain.won == report.best.gain.pairs == 5
    assert "it won in 5 of 5 seeds, which alone says 42% to 100%" in report.statement, "five of five are no certainty"
    assert "Student's t, corrected for 2 candidates" in report.statement
    assert load_confirm(asked.folder) == report
    assert report.best.mean == pytest.approx(statistics.fmean(report.best.values))


def test_a_winner_by_luck_is_found_out(tmp_path):
    """The study picks the luckiest of 12; with fresh seeds less is left of its lead."""
    asked = studied(tmp_path, Planted(effect=0.0, noise=1.0), trials=12)
    baseline = run_study(asked).trials[0]
    winner = best_trial(run_study(asked))
    report = confirm_study(asked, top=1, seeds=20)
    lucky = next(row for row in report.configurations if not row.is_baseline)
    claimed = baseline.value - winner.value
    assert claimed > 0.5
    assert lucky.gain.mean < claimed


def test_pairs_take_out_the_noise_that_a_seed_gives_to_all(tmp_path):
    asked = studied(tmp_path, Planted(effect=0.3, noise=0.02, shared=2.0))
    report = confirm_study(asked, top=1, seeds=5)
    assert report.baseline.std > 1.0
    assert report.best.gain.std < 0.1
    assert report.best.gain.probability > 0.99


def test_all_configurations_get_the_same_fresh_seeds(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)
    study_seeds = {seed for _, seed, _ in train.calls}
    train.calls.clear()
    report = confirm_study(asked, top=2, seeds=3)
    assert not study_seeds & set(report.seeds)
    names = {row.name for row in report.configurations}
    assert {name for name, _, _ in train.calls} == {f"{name}_seed{seed}" for name in names for seed in report.seeds}


def test_finished_trainings_are_read_and_an_interrupted_one_goes_on(tmp_path, caplog):
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
    with caplog.at_level("INFO"):
        again = confirm_study(asked, top=1, seeds=3)
    lines = [message for message in caplog.messages if message.startswith("confirm: ")]
    assert [line.endswith(" (already trained)") for line in lines] == [True] * 3 + [False] * 3
    assert again == whole
    assert len(train.calls) == 6, "a finished training was repeated"
    assert [resume for _, _, resume in train.calls] == [False] * 3 + [True] + [False] * 2
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
    path.write_text(json.dumps({**content, "key": "0" * 64, "run": {**content["run"], "value": -100.0}}))
    train.calls.clear()
    report = confirm_study(asked, top=1, seeds=2)
    assert len(train.calls) == 1
    assert -100.0 not in report.baseline.values


def test_seeds_added_later_are_a_further_look_that_widens_the_interval(tmp_path, caplog):
    asked = studied(tmp_path, Planted(1.0, 0.5))
    confirm_study(asked, top=1, seeds=3)
    assert confirm_study(asked, top=1, seeds=3).looks == 1, "reading the same again is no further look"
    later = confirm_study(asked, top=1, seeds=5)
    assert later.looks == 2
    assert "this counts as look 2" in caplog.text
    planned = replace(later, looks=1).best
    assert later.best.gain.level == pytest.approx(0.9875)
    assert later.best.gain.low < planned.gain.low < planned.gain.high < later.best.gain.high
    assert "corrected for 2 looks at the results" in later.statement
    assert confirm_study(asked, top=1, seeds=3).looks == 2, "going back does not undo the look"
    assert load_confirm(asked.folder).looks == 2


def test_a_plan_may_change_while_nothing_has_finished(tmp_path):
    def cut(config, run_dir, hooks, resume):
        raise KeyboardInterrupt

    asked = studied(tmp_path, Planted(1.0, 0.5))
    with pytest.raises(KeyboardInterrupt):
        confirm_study(asked, top=1, seeds=20, train=cut)
    assert confirm_study(asked, top=1, seeds=3).looks == 1


def test_candidates_of_an_earlier_look_stay_in_the_correction(tmp_path):
    asked = studied(tmp_path, Planted(1.0, 0.5))
    confirm_study(asked, top=3, seeds=2)
    report = confirm_study(asked, top=1, seeds=2)
    assert (report.candidates, report.looks) == (3, 2)


def test_a_damaged_plan_is_one_line(tmp_path):
    asked = studied(tmp_path, Planted(1.0, 0.5))
    confirm_study(asked, top=1, seeds=2)
    (asked.folder / "confirm" / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match="not known which seeds were planned"):
        confirm_study(asked, top=1, seeds=2)


def test_a_report_of_an_earlier_version_is_read_and_counts_as_a_look(tmp_path):
    asked = studied(tmp_path, Planted(1.0, 0.1))
    confirm_study(asked, top=2, seeds=3)
    path = asked.folder / "confirm.json"
    content = json.loads(path.read_text())
    kept = ("name", "trial", "is_baseline", "parameters", "values", "mean", "std")
    bounds = {"improvement_low": 0.99, "improvement_high": 1.01, "probability": 1.0, "wins": 3, "pairs": 3}
    rows = [{**{name: row[name] for name in kept}, **bounds} for row in content["configurations"]]
    path.write_text(json.dumps({**{n: content[n] for n in ("metric", "direction", "seeds")}, "configurations": rows}))
    (asked.folder / "confirm" / "plan.json").unlink()
    old = load_confirm(asked.folder)
    assert old.best.gain.low < 0.9, "the interval of the earlier version was taken over"
    assert "measured by an earlier version" in old.statement
    assert confirm_study(asked, top=2, seeds=4).looks == 2


def test_a_failed_training_counts_as_the_worst_and_is_said_first(tmp_path):
    train = Planted(1.0, 0.1)
    asked = studied(tmp_path, train)

    def diverging(config, run_dir, hooks, resume):
        if config.training.seed in (2, 4) and config.optim.lr != BASE_LR:
            raise NonFiniteError("loss is nan")
        return train(config, run_dir, hooks, resume)

    report = confirm_study(asked, top=1, seeds=5, train=diverging)
    assert report.best.gain.pairs == 3
    assert report.best.values[1] is None
    assert report.statement.startswith("Failed in 2 of 5 seeds: trial ")
    assert "no gain is claimed" in report.statement
    assert (report.best.gain.won, report.best.gain.compared) == (3, 5), "a failed seed is a lost one"
    assert report.best.gain.probability < 0.61
    assert any("failed in 2 of 5" in text for text in report.warnings())
    assert report.rows()[-1]["finished"] == "3 of 5"
    assert report.configurations[0].is_baseline


def test_a_candidate_that_never_fails_is_ahead_of_a_better_one_that_does(tmp_path):
    def train(config, run_dir, hooks, resume):
        lr = config.optim.lr
        seed = config.training.seed
        hard = 5.0 if seed in (2, 4) else 0.0
        if hard and lr < SMALL_LR:
            raise NonFiniteError("loss is nan")
        return Planted((3.0 if lr < SMALL_LR else 1.0) - hard, 0.01)(config, run_dir, hooks, resume)

    asked = studied(tmp_path, train, trials=8)
    report = confirm_study(asked, top=7, seeds=5)
    kinds = {row.trial: row.parameters["lr"] < SMALL_LR for row in report.configurations if not row.is_baseline}
    assert set(kinds.values()) == {True, False}, "nothing was planted"
    order = [row.failed for row in report.configurations if not row.is_baseline]
    assert order == sorted(order)
    assert report.best.failed == 0


def test_constraints_hold_in_every_seed_or_no_gain_is_claimed(tmp_path):
    def measured(config, run_dir, hooks, resume):
        result = Planted(1.0, 0.01)(config, run_dir, [], resume)
        base = config.optim.lr == BASE_LR
        seed = config.training.seed
        gaze = 7.0 if base or seed == 0 else 9.0  # kept in the search by luck
        row = {**result.history[0], "gaze_error_deg": gaze}
        for hook in hooks:
            hook.on_epoch_end(FakeTrainer(), 0, row)
        return replace(result, history=[row])

    asked = studied(tmp_path, measured, constraints={"gaze_error_deg": "<= 8"})
    report = confirm_study(asked, top=1, seeds=4)
    assert report.best.infeasible == 4
    assert "misses the constraint gaze_error_deg <= 8 in 4 of 4 seeds" in report.sentences[0]
    assert report.sentences[0].startswith("No gain is claimed")
    assert report.rows()[1]["constraints missed"] == "4 of 4"
    assert any("misses gaze_error_deg <= 8 in 4 of 4" in text for text in report.warnings())


def test_no_gain_is_claimed_over_a_baseline_that_misses_a_constraint(tmp_path):
    def measured(config, run_dir, hooks, resume):
        result = Planted(-1.0, 0.01)(config, run_dir, [], resume)
        row = {**result.history[0], "gaze_error_deg": 12.0 if config.optim.lr == BASE_LR else 6.0}
        for hook in hooks:
            hook.on_epoch_end(FakeTrainer(), 0, row)
        return replace(result, history=[row])

    asked = studied(tmp_path, measured, constraints={"gaze_error_deg": "<= 8"})
    study = run_study(asked)
    assert gain(study) is None
    assert headline(study, None)[0].startswith("No gain is claimed: the baseline")
    report = confirm_study(asked, top=1, seeds=3)
    assert "the baseline misses the constraint gaze_error_deg <= 8 in 3 of 3 seeds; trial" in report.sentences[0]
    assert report.configurations[-1].is_baseline, "it is worse than any that meets the constraints"


def measured_people(effect):
    """Test people of whom the best trial's gain is `effect`, each with an offset of their own."""

    def measure(config, checkpoint, people):
        gained = effect if config.optim.lr != BASE_LR else 0.0
        seed = random.Random(f"{config.training.seed} {config.optim.lr}").gauss(0, 0.1)
        return {person: {"val_loss": 20.0 + index - gained + seed} for index, person in enumerate(people)}

    return TestPeople(("a.h5", "b.h5", "c.h5"), measure)


def with_checkpoint(train):
    """A training that leaves a `best.pt`."""

    def trained(config, run_dir, hooks, resume):
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "best.pt").write_bytes(f"{config.training.seed} {config.optim.lr}".encode())
        return train(config, run_dir, hooks, resume)

    return trained


def test_the_headline_is_of_the_test_people_and_both_gains_are_said(tmp_path):
    asked = studied(tmp_path, with_checkpoint(Planted(effect=1.0, noise=0.1)))
    report = confirm_study(asked, top=1, seeds=5, measure=measured_people(2.0))
    assert report.best.gain.mean == pytest.approx(2.0, abs=0.3)
    assert report.baseline.mean == pytest.approx(21.0, abs=0.3)
    assert report.sentences[0].startswith("Better by 1.9") or report.sentences[0].startswith("Better by 2")
    assert "the mean over 5 training seeds of each and 3 test people" in report.sentences[0]
    assert "On the validation people, which chose epoch and trial, the gain is 1" in report.statement
    assert load_confirm(asked.folder) == report
    again = TestPeople(("a.h5", "b.h5", "c.h5"), lambda *_: pytest.fail("measured again"))
    assert confirm_study(asked, top=1, seeds=5, measure=again) == report


def test_luck_of_the_validation_people_is_not_a_gain(tmp_path):
    asked = studied(tmp_path, with_checkpoint(Planted(effect=1.0, noise=0.1)))
    report = confirm_study(asked, top=1, seeds=5, measure=measured_people(0.0))
    assert not report.facts.claimed
    assert abs(report.best.gain.mean) < 0.3
    assert report.best.gain.low < 0 < report.best.gain.high


def test_a_training_function_of_ones_own_says_why_there_are_no_test_people(tmp_path):
    report = confirm_study(studied(tmp_path, Planted(1.0, 0.1)), top=1, seeds=5)
    assert report.sentences[0].startswith("Better on the validation people alone by ")
    assert "a training function of its own" in report.statement
    assert not report.facts.claimed


def test_a_baseline_that_won_is_compared_with_the_best_other(tmp_path):
    asked = studied(tmp_path, Planted(effect=-5.0, noise=0.1))
    report = confirm_study(asked, top=1, seeds=2)
    assert [row.is_baseline for row in report.configurations] == [True, False]
    assert report.statement.startswith("Not better: worse by ")


def test_a_baseline_alone_confirms_nothing(tmp_path):
    asked = studied(tmp_path, Planted(effect=1.0, noise=0.1), trials=1)
    report = confirm_study(asked, top=1, seeds=2)
    assert [row.name for row in report.configurations] == ["baseline"]
    assert "nothing can be confirmed" in report.statement


def test_larger_is_better_mirrors(tmp_path):
    train = Planted(effect=-1.0, noise=0.1)
    asked = studied(tmp_path, train, direction="maximize")
    report = confirm_study(asked, top=1, seeds=4)
    assert report.best.gain.mean == pytest.approx(1.0, abs=0.3)
    assert report.best.gain.probability > 0.99
    assert report.configurations[-1].is_baseline


def test_a_loser_is_not_called_better(tmp_path):
    """It won the study by luck: the planted effect is against it."""
    asked = studied(tmp_path, lambda config, *rest: Planted(3.0, 0.1)(config, *rest))
    report = confirm_study(asked, top=1, seeds=4, train=Planted(effect=-1.0, noise=0.1))
    assert report.best.gain.mean < 0
    assert report.configurations[0].is_baseline
    assert report.statement.startswith("Not better: worse by ")
    assert report.best.gain.probability < 0.01


def test_one_seed_says_nothing_about_noise(tmp_path):
    report = confirm_study(studied(tmp_path, Planted(1.0, 0.1)), top=1, seeds=1)
    assert report.best.gain.probability is None
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
    asked = spec(tmp_path, late, trials=14)
    study = run_study(asked)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    losers = {t.number for t in pruned if t.params["lr"] >= 3e-3}
    assert losers, "nothing was planted"
    assert len(pruned) > len(losers)
    before = {p: p.read_bytes() for t in pruned for p in (asked.folder / f"trial_{t.number:04d}").glob("*.pt")}
    report = continue_pruned(asked, share=1.0)
    assert {row.trial for row in report.trials if row.beats_winner} == losers
    assert f"{len(losers)} of {len(pruned)} continued trials would have beaten the best trial" in report.statement
    assert "all pruned ones" in report.statement
    number = min(losers)
    begun = asked.folder / "continued" / f"trial_{number:04d}" / "begun"
    assert int(begun.read_text()) == len(study.trials[number].intermediate_values), "it did not go on where it stopped"
    assert {p: p.read_bytes() for p in before} == before, "the original trials were touched"
    assert [t.state for t in run_study(asked).trials] == [t.state for t in study.trials]
    assert load_continued(asked.folder) == report


def test_a_share_is_seeded_and_finished_ones_are_read(tmp_path):
    asked = spec(tmp_path, trials=12)
    study = run_study(asked)
    pruned = sum(t.state == TrialState.PRUNED for t in study.trials)
    assert pruned > 3
    report = continue_pruned(asked, share=0.1)
    assert len(report.trials) == math.ceil(0.1 * pruned) < pruned
    assert report.lost == 0
    most = largest_count(0, len(report.trials), pruned)
    assert (
        f"of all {pruned} pruned ones up to {most} ({most / pruned:.0%}) might (95% interval, hyp" in report.statement
    )

    def never(*arguments):
        raise AssertionError("trained again")

    assert continue_pruned(asked, share=0.1, train=never) == report
    larger = continue_pruned(asked, share=0.5)
    assert {row.trial for row in report.trials} < {row.trial for row in larger.trials}
    with pytest.raises(ConfigError, match="above 0"):
        continue_pruned(asked, share=0.0)


def test_a_continued_trial_that_misses_a_constraint_would_not_have_won(tmp_path):
    class WithGaze:
        """Hands a hook the constrained metric, too."""

        def __init__(self, hook, gaze):
            self.hook = hook
            self.gaze = gaze

        def on_fit_start(self, trainer):
            self.hook.on_fit_start(trainer)

        def on_epoch_end(self, trainer, epoch, row):
            self.hook.on_epoch_end(trainer, epoch, {**row, "gaze_error_deg": self.gaze})

    def measured(config, run_dir, hooks, resume):
        gaze = 20.0 if config.optim.lr >= 3e-3 else 5.0
        result = late(config, run_dir, [WithGaze(hook, gaze) for hook in hooks], resume)
        return replace(result, history=[{**row, "gaze_error_deg": gaze} for row in result.history])

    asked = spec(tmp_path, measured, trials=14, constraints={"gaze_error_deg": "<= 8"})
    study = run_study(asked)
    losers = {t.number for t in study.trials if t.state == TrialState.PRUNED and t.params["lr"] >= 3e-3}
    assert losers, "nothing was planted"
    report = continue_pruned(asked, share=1.0)
    assert report.lost == 0
    assert "missed a constraint" in report.statement
    assert load_continued(asked.folder) == report

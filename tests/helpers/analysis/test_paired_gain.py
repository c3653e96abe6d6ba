"""Intervals, shares and the words about them, without a study."""

import random
import re
import statistics

import numpy as np
import pytest
from scipy import stats

from helpers.analysis.confirm_report import ConfirmReport
from helpers.analysis.confirmed import confirmed
from helpers.analysis.paired_gain import Sample, corrected_level, paired_gain, paired_interval, seeds_needed
from helpers.analysis.shares import clopper_pearson, expected_best, expected_lead, largest_count


def test_the_interval_is_students_t_and_equal_values_are_no_difference():
    differences = [random.Random(seed).gauss(0.3, 1) for seed in range(5)]
    chance, low, high = paired_interval(differences)
    expected = stats.t.interval(0.95, 4, statistics.fmean(differences), stats.sem(differences))
    assert (low, high) == pytest.approx(expected)
    assert chance == pytest.approx(1 - stats.ttest_1samp(differences, 0, alternative="greater").pvalue)
    assert paired_interval([0.0] * 5) == (0.5, 0.0, 0.0)


def test_people_that_differ_widen_the_interval():
    rows = tuple((1.0 + 0.1 * seed, 3.0 + 0.1 * seed, -1.0 + 0.1 * seed) for seed in range(5))
    zero = Sample((0.0,) * 5, ((0.0,) * 3,) * 5)
    values = tuple(statistics.fmean(row) for row in rows)
    alone = paired_gain(Sample(values), zero, -1)
    with_people = paired_gain(Sample(values, rows), zero, -1)
    assert alone.low > 0.9
    assert with_people.low < 0, "three people from -1 to 3 do not show that others gain"
    assert with_people.mean == alone.mean
    same = tuple((value,) * 3 for value in values)
    assert paired_gain(Sample(values, same), zero, -1).low == pytest.approx(alone.low)
    assert seeds_needed(with_people, 0.95) is None


def test_few_people_are_not_taken_for_equal_by_luck():
    """The rest alone makes both people equal in the mean; what it makes of other people is not known."""
    rest = ((0.4, -0.2), (-0.1, 0.3), (0.2, 0.4))
    rows = tuple(tuple(1 + value for value in row) for row in rest)
    zero = Sample((0.0,) * 3, ((0.0,) * 2,) * 3)
    gain = paired_gain(Sample(tuple(map(statistics.fmean, rows)), rows), zero, -1)
    assert gain.people_error == 0
    by_person = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    assert gain.high - gain.mean > stats.t.ppf(0.975, 1) * stats.sem(by_person)


def reported(differences, people, missed=(), baseline_missed=()):
    """What is said of differences of seeds that all of some people share."""
    names = tuple(f"subject{person:04d}.h5" for person in range(people))
    rows = tuple(
        confirmed(name, trial, {}, values, people=[(value,) * people for value in values], missed=bounds)
        for name, trial, values, bounds in (
            ("baseline", 0, (1.0,) * len(differences), baseline_missed),
            ("trial_0001", 1, tuple(1.0 - difference for difference in differences), missed),
        )
    )
    return ConfirmReport("val_loss", "minimize", tuple(range(1, len(differences) + 1)), rows, people=names)


def test_one_test_person_says_nothing_of_others():
    differences = (0.5, 0.52, 0.48, 0.51)
    one = reported(differences, 1)
    assert one.best.gain.low > 0
    assert one.sentences[0].startswith("Better on one test person alone by ")
    assert "4 training seeds of each and 1 test person." in one.sentences[0]
    assert not one.facts.claimed
    assert any("says nothing of other people" in warning for warning in one.warnings())
    two = reported(differences, 2)
    assert two.sentences[0].startswith("Better by ")
    assert not two.warnings()


def test_a_seed_that_misses_a_constraint_is_lost_and_no_number_of_seeds_is_advised():
    report = reported(
        (0.5, 0.1, 0.3, 0.3), 4, missed=[("a <= 8",)] + [()] * 3, baseline_missed=[(), ("b >= 3",), (), ()]
    )
    assert (report.best.gain.won, report.best.gain.compared) == (3, 4)
    said = report.statement
    assert "trial 1 misses the constraint a <= 8 in 1 of 4 seeds" in said
    assert "the baseline misses the constraint b >= 3 in 1 of 4" in said
    assert "would show it" not in said
    assert "would show it" in reported((0.5, -0.1, 0.3, 0.3), 4).statement
    all_missed = reported((0.5, 0.1, 0.3), 4, missed=[("a <= 8",)] * 3).best.gain
    assert (all_missed.won, all_missed.compared, all_missed.probability) == (0, 3, 0)


def test_one_seed_names_whom_it_favours_with_the_size_of_the_difference():
    assert "differs by 0.25 in favour of the baseline" in reported((-0.25,), 4).sentences[0]
    assert "differs by 0.25 in favour of trial 1" in reported((0.25,), 4).sentences[0]
    assert "val_loss is the same" in reported((0.0,), 4).sentences[0]
    twins = reported((0.0, 0.0, 0.0), 4)
    assert twins.best.gain.probability == 0
    assert twins.sentences[0].startswith("No difference was seen")


def test_what_a_seed_does_to_all_configurations_is_no_noise_of_a_search():
    draw = np.random.default_rng(0).normal
    shared = 5 * draw(size=4000)
    rows = [
        confirmed(name, trial, {}, tuple(10 + shared + draw(size=4000)), people=())
        for trial, name in enumerate(("baseline", "trial_0001", "trial_0002"))
    ]
    assert ConfirmReport("val_loss", "minimize", tuple(range(4000)), tuple(rows)).noise == pytest.approx(1, rel=0.03)


def test_a_training_that_ignores_its_seed_shows_no_noise():
    report = reported((0.25, 0.25), 2)
    assert report.best.gain.low is None
    assert report.best.gain.probability is None
    assert report.sentences[0].startswith("The seed changes nothing in the difference: ")
    assert not report.facts.claimed
    values = (0.3, 0.4, 0.5, 0.7, 0.9)
    rounded = paired_gain(Sample(tuple(value - 0.1 for value in values)), Sample(values), 1)
    assert rounded.low is None, "differences that rounding alone tells apart show no noise either"
    with pytest.raises(ValueError, match="not all the same"):
        paired_interval([0.25, 0.25])


@pytest.mark.parametrize(("cases", "looked_at", "total"), [(0, 2, 17), (0, 16, 17), (1, 5, 9), (3, 3, 8)])
def test_the_upper_count_is_the_largest_that_the_sample_does_not_exclude(cases, looked_at, total):
    most = largest_count(cases, looked_at, total)
    assert stats.hypergeom.cdf(cases, total, most, looked_at) > 0.025
    above = most + 1
    assert above > total - looked_at + cases or stats.hypergeom.cdf(cases, total, above, looked_at) <= 0.025


@pytest.mark.parametrize(("count", "total"), [(0, 60), (5, 5), (3, 10)])
def test_shares_have_exact_intervals(count, total):
    exact = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    assert clopper_pearson(count, total) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("count", [1, 2, 20])
def test_the_expected_best_is_the_mean_of_maxima(count):
    drawn = np.random.default_rng(0).normal(size=(40_000, count)).max(axis=1)
    assert expected_best(count) == pytest.approx(drawn.mean(), abs=0.02)
    leads = drawn - np.random.default_rng(count).standard_normal(len(drawn))
    assert expected_lead(count) == pytest.approx(leads[leads > 0].mean(), abs=0.03)


def test_it_says_how_many_seeds_the_gain_would_need():
    values = (0.9, 0.1, 1.2, 0.0)
    rows = (confirmed("trial_0001", 1, {}, values), confirmed("baseline", 0, {}, (1.0,) * 4))
    report = ConfirmReport("val_loss", "minimize", (1, 2, 3, 4), rows)
    assert report.best.gain.low < 0 < report.best.gain.mean
    needed = int(re.search(r"(\d+) seeds in all would show it in 8 of 10", report.statement)[1])
    gained = report.best.gain
    level = corrected_level(1, 2)
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(400):
        drawn = rng.normal(gained.mean, gained.std, needed)
        shown += paired_interval(list(drawn), level)[1] > 0
    assert 0.7 < shown / 400 < 0.9


def test_the_level_is_shared_by_candidates_and_falls_with_looks():
    assert corrected_level() == pytest.approx(0.95)
    assert corrected_level(5) == pytest.approx(0.99)
    errors = [1 - corrected_level(1, look) for look in range(1, 20)]
    assert errors == sorted(errors, reverse=True)
    assert sum(errors) <= 0.05 * 4 / 3

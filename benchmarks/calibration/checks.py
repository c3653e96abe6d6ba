"""One check per statement: how often it is true in simulated confirmations, before and now."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import worlds
from benchmarks.calibration.worlds import (
    Floats,
    Noise,
    better_before,
    covers,
    gain_of,
    percentile_bootstrap,
    report,
    says_better,
)
from benchmarks.study.soak import BLOCKS, growth
from gazegaussian.evaluation.results import over_subjects
from helpers.analysis.paired_gain import corrected_level, paired_interval, seeds_needed
from helpers.analysis.shares import clopper_pearson, expected_lead, largest_count

# what the shares are to be
FALSE = (0.0, 0.035)
COVERED = (0.93, 0.97)
HEAVY = (0.90, 0.98)
AT_LEAST_95 = (0.93, 1.0)  # of intervals that may only be too wide
UNEVEN = (0.92, 0.97)  # people with one image and with eight
SKEWED = (0.85, 0.97)  # what Student's t keeps of 95% with few skewed values; the documentation says so
ONE_LARGE = (0.80, 0.93)  # one person with most of the images; the documentation says so
SURE = 0.99  # a share misses its aim when its own interval at this level does


@dataclass(frozen=True)
class Row:
    """A share that was simulated."""

    statement: str
    case: str
    before: float | None  # the same with what the program did earlier
    count: int
    total: int
    aim: tuple[float, float]

    @property
    def now(self) -> float:
        """The share."""
        return self.count / self.total

    @property
    def holds(self) -> bool:
        """Whether the share is compatible with its aim."""
        low, high = clopper_pearson(self.count, self.total, SURE)
        return low <= self.aim[1] and high >= self.aim[0]

    def cells(self) -> list[str]:
        """For a table."""
        before = "" if self.before is None else f"{self.before:.3f}"
        aim = f"{self.aim[0]:g} to {self.aim[1]:g}"
        return [self.statement, self.case, before, f"{self.now:.3f}", aim, "yes" if self.holds else "NO"]


Check = Callable[[np.random.Generator, int], Iterator[Row]]


def interval_of_seeds(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """95% interval of the mean gain, one candidate, people that agree."""
    for name, draw, aim in (("normal", worlds.normal, COVERED), ("t3", worlds.heavy, HEAVY)):
        for seeds in (3, 5, 10):
            yield _coverage(generator, runs, Noise(draw=draw), (seeds, 1), f"{name}, {seeds} seeds", aim)


def interval_of_people(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """95% interval of the mean gain when people differ, too; it may be a little too wide, not too narrow."""
    for people in (4, 8, 15):
        for seeds in (3, 5, 10):
            for noise in (Noise(1, 1, 1), Noise(0.3, 1, 1)):
                case = f"{seeds} seeds, {people} people, sd of seeds {noise.seed:g}, of people {noise.person:g}"
                yield _coverage(generator, runs, noise, (seeds, people), case, AT_LEAST_95)


def _coverage(
    generator: np.random.Generator,
    runs: int,
    noise: Noise,
    shape: tuple[int, int],
    case: str,
    aim: tuple[float, float],
) -> Row:
    """How often the interval of one candidate that is no better holds 0; `shape` are seeds and people."""
    now = 0
    before = 0
    for _ in range(runs):
        losses = noise.losses(generator, 2, *shape)
        now += covers(next(one.gain for one in report(losses).configurations if not one.is_baseline))
        low, high = percentile_bootstrap(generator, (losses[0] - losses[1]).mean(axis=1))
        before += low <= 0 <= high
    return Row("interval of the gain holds it", case, before / runs, now, runs, aim)


def false_better(
    generator: np.random.Generator,
    runs: int,
    tops: Sequence[int] = (1, 3, 5),
    planned_seeds: Sequence[int] = (3, 5, 10),
) -> Iterator[Row]:
    """'Better by' when nothing is better: planned seeds, and some added later."""
    for top in tops:
        for seeds in planned_seeds:
            noise = Noise()
            planned = 0
            either = 0
            before = 0
            before_either = 0
            for _ in range(runs):
                losses = noise.losses(generator, top + 1, 2 * seeds, 2)
                first = says_better(report(losses[:, :seeds]))
                planned += first
                either += first or says_better(report(losses, looks=2))
                means = losses.mean(axis=2)
                was = better_before(generator, means[:, :seeds])
                before += was
                before_either += was or better_before(generator, means)
            case = f"top {top}, {seeds} seeds"
            yield Row("'Better by' though nothing is", case, before / runs, planned, runs, FALSE)
            later = f"{case}, then {2 * seeds}"
            yield Row("'Better by' though nothing is", later, before_either / runs, either, runs, FALSE)


def few_test_people(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """'Better by' when nothing is better and people differ more than seeds; one person alone says nothing of others."""
    for people, spread in ((1, 3.0), (2, 1.0), (2, 3.0), (3, 3.0)):
        noise = Noise(person=spread)
        claimed = sum(says_better(report(noise.losses(generator, 2, 5, people))) for _ in range(runs))
        case = f"{people} test people, whose sd is {spread:g} times that of seeds"
        yield Row("'Better by' though nothing is", case, None, claimed, runs, (0, 0) if people == 1 else FALSE)
    noise = Noise(seed=0.1, person=1.0, rest=1.0)
    for candidates, people in itertools.product((1, 3, 5), (2, 3, 4)):
        claimed = sum(says_better(report(noise.losses(generator, candidates + 1, 10, people))) for _ in range(runs))
        case = f"top {candidates}, 10 seeds, {people} test people, whose sd is 10 times that of seeds, as is the rest"
        yield Row("'Better by' though nothing is", case, None, claimed, runs, FALSE)


def luck_of_people(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """The best of 30 configurations on the validation people; on other people none is better."""
    for people in (6, 12):
        noise = Noise(seed=0.002, person=0.01 * people**0.5, shared=0.0)
        chosen = 30
        now = 0
        before = 0
        for _ in range(runs):
            seen = noise.losses(generator, chosen + 1, 6, people).mean(axis=2)  # the first seed searched
            best = 1 + int(np.argmin(seen[1:, 0]))
            pair = seen[[0, best], 1:]
            before += better_before(generator, pair)
            now += says_better(report(noise.losses(generator, 2, 5, people), seen=pair))
        yield Row("luck of the validation people is 'Better by'", f"{people} people", before / runs, now, runs, FALSE)


def noise_of_epochs(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """The best of E noisy epochs, whose true loss is the same at every epoch and for both."""
    for sd, epochs in (((0.002, 0.006), (8, 8)), ((0.002, 0.006), (30, 30)), ((0.004, 0.004), (8, 30))):
        now = 0
        before = 0
        for _ in range(runs):
            seen = np.empty((2, 5))
            test = np.empty((2, 5, 8))
            for index in range(2):
                seen[index] = 0.25 + sd[index] * generator.normal(size=(5, epochs[index])).min(axis=1)
                test[index] = 0.25 + sd[index] * generator.normal(size=(5, 8))
            before += better_before(generator, seen)
            now += says_better(report(test, seen=seen))
        case = f"sd {sd[0]:g} and {sd[1]:g}, {epochs[0]} and {epochs[1]} epochs"
        yield Row("luck of the best epoch is 'Better by'", case, before / runs, now, runs, FALSE)


def failed_seeds(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """A candidate that is better where it trains and fails in some seeds beside one that is a little better in all."""
    claimed = 0
    ahead = 0
    before = 0
    cases = 0
    while cases < runs:
        losses = Noise(seed=0.002, shared=0.01).losses(generator, 3, 5, 2)
        losses[1] -= 0.02
        losses[2] -= 0.005
        failed = np.zeros((3, 5), bool)
        failed[1] = generator.random(5) < 0.3
        if not 0 < failed[1].sum() <= 3:
            continue
        cases += 1
        alone = report(losses[:2], failed=failed[:2])
        claimed += says_better(alone) or not alone.sentences[0].startswith("Failed in")
        both = report(losses, failed=failed).best
        ahead += both is not None and both.trial == 2
        kept = ~failed[1]
        before += percentile_bootstrap(generator, (losses[0] - losses[1]).mean(axis=1)[kept])[0] > 0
    yield Row("a gain of a candidate that fails in some seeds", "claimed", before / runs, claimed, runs, (0, 0))
    yield Row("a candidate that never fails is ahead of it", "ranking", None, ahead, runs, (1, 1))


def constraints(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """A candidate, or the baseline, that misses a constraint in some seeds."""
    for index, who in ((1, "the candidate"), (0, "the baseline")):
        claimed = 0
        before = 0
        cases = 0
        while cases < runs:
            losses = Noise(seed=0.002, shared=0.01).losses(generator, 2, 5, 2)
            losses[1] -= 0.02
            missed = np.zeros((2, 5), bool)
            missed[index] = generator.random(5) < 0.4
            if not missed.any():
                continue
            cases += 1
            said = report(losses, missed=missed)
            claimed += says_better(said) or "misses the constraint" not in said.sentences[0]
            before += better_before(generator, losses.mean(axis=2))
        yield Row("a gain though a constraint is missed", f"by {who}", before / runs, claimed, runs, (0, 0))


def single_training(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """Clopper-Pearson interval of the probability that a new training beats one of the baseline."""
    for effect, truth in ((0.0, 0.5), (1.0, 0.8413447), (2.0, 0.9772499)):
        for seeds in (3, 5, 10):
            held = 0
            for _ in range(runs):
                gain = gain_of(generator.normal(effect, 1.0, (seeds, 1)))
                held += (
                    gain.won_low is not None and gain.won_high is not None and gain.won_low <= truth <= gain.won_high
                )
            case = f"true probability {truth:.2f}, {seeds} seeds"
            yield Row("interval of 'a new training beats' holds it", case, None, held, runs, AT_LEAST_95)


def needed_seeds(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """Seeds that 'would show it in 8 of 10 confirmations', where mean and noise are the true ones."""
    for effect in (0.5, 1.0):
        level = corrected_level(3, 2)
        exact = gain_of(np.array([[effect - 0.5**0.5], [effect + 0.5**0.5]]))  # this mean, standard deviation one
        seeds = seeds_needed(exact, level)
        assert seeds is not None
        shown = sum(paired_interval(list(generator.normal(effect, 1.0, seeds)), level)[1] > 0 for _ in range(runs))
        case = f"gain of {effect:g} standard deviations, {seeds} seeds"
        yield Row("seeds that show a gain in 8 of 10", case, None, shown, runs, (0.75, 0.85))


def needed_seeds_of_people(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """The same where people differ: the people that were measured stay, only seeds are new."""
    level = corrected_level(3, 2)
    by_person = 1.0 + 0.1 * np.array([-1.0, 1, -1, 1])  # the gain of each
    seeds = seeds_needed(gain_of(by_person + np.array([[-(0.5**0.5)], [0.5**0.5]]), level), level)
    assert seeds is not None
    drawn = (by_person + generator.normal(size=(seeds, 1)) for _ in range(runs))
    lows = [gain_of(differences, level).low for differences in drawn]
    shown = sum(low is not None and low > 0 for low in lows)
    case = f"gain of 1 standard deviation, 4 people that differ, {seeds} seeds"
    yield Row("seeds that show a gain in 8 of 10", case, None, shown, runs, (0.75, 0.85))


def price_of_pruning(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """Upper end of the number of pruned trials that would have won."""
    for total, lost, done in ((17, 1, 16), (17, 4, 5), (60, 12, 6)):
        held = sum(
            largest_count(int(cases), done, total) >= lost
            for cases in generator.hypergeometric(lost, total - lost, done, runs)
        )
        yield Row(
            "'up to so many pruned trials might' is enough", f"{lost} of {total} lost, {done} looked at", None, held, runs,
            (0.975, 1.0),
        )  # fmt: skip


def memory(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """The soak's interval of memory growth where memory does not grow."""
    trials = range(40 * BLOCKS)
    for name, kept in (("random walk", 1.0), ("autoregressive 0.98", 0.98), ("independent", 0.0)):
        held = 0
        for _ in range(runs):
            _, low, high = growth(trials, _drift_free(generator.normal(size=len(trials)), kept))
            held += low <= 0 <= high
        yield Row("the soak's interval holds no growth", name, None, held, runs, AT_LEAST_95)


def _drift_free(steps: Floats, kept: float) -> list[float]:
    """Memory that moves by steps and keeps a share of where it was."""
    return list(itertools.accumulate(steps, lambda before, step: kept * before + step))


def best_of_equals(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """How much the best of N equal configurations is ahead, where one is: by more than said in half of the studies or so."""
    for trials in (1, 10, 30):
        for shared in (0.0, 2.0):  # what a seed does to all trials of a search alike is no lead
            case = f"{trials} trials, sd of what a seed does to all {shared:g}"
            yield _ahead_by_more(generator, runs, trials, shared, (3, 5), case, (0.42, 0.56))
    # A noise that few differences tell is too small more often than not.
    for seeds, aim in ((2, (0.55, 0.68)), (3, (0.48, 0.60))):
        for trials in (2, 10, 30):
            case = f"{trials} trials, noise from {seeds} seeds of 1 candidate"
            yield _ahead_by_more(generator, runs, trials, 2.0, (1, seeds), case, aim)


def _ahead_by_more(
    generator: np.random.Generator,
    runs: int,
    trials: int,
    shared: float,
    confirmed: tuple[int, int],
    case: str,
    aim: tuple[float, float],
) -> Row:
    """How often the best of so many equals is ahead by more than said; `confirmed` are candidates and seeds."""
    candidates, seeds = confirmed
    leads = generator.normal(size=(runs, trials)).max(axis=1) - generator.normal(size=runs)
    ahead = leads[leads > 0]
    noise = Noise(shared=shared)
    measured = [report(noise.losses(generator, candidates + 1, seeds, 1)).noise for _ in ahead]
    above = sum(lead > expected_lead(trials) * sd for lead, sd in zip(ahead, measured, strict=True) if sd is not None)
    return Row("the best of equals is ahead by more than said", case, None, above, len(ahead), aim)


def evaluation_of_people(generator: np.random.Generator, runs: int) -> Iterator[Row]:
    """95% interval of an evaluation's mean for other people, all images of a person alike."""
    kinds: tuple[tuple[str, worlds.Draw, int, tuple[float, float]], ...] = (
        ("normal", worlds.normal, 1, COVERED),
        ("normal", worlds.normal, 8, UNEVEN),
        ("log-normal", worlds.skewed, 1, SKEWED),
        ("log-normal", worlds.skewed, 8, SKEWED),
    )
    for name, draw, most, aim in kinds:
        for people in (2, 3, 5, 10, 20, 40):
            now = 0
            before = 0
            for _ in range(runs):
                persons = draw(generator, (people,))
                now += _holds_other_people(persons, generator.integers(1, most + 1, people))
                if most == 1:  # what was resampled before were people, one value each
                    low, high = percentile_bootstrap(generator, persons)
                    before += low <= 0 <= high
            case = f"{name}, {people} people with {'one image' if most == 1 else f'1 to {most} images'} each"
            share = before / runs if most == 1 else None
            yield Row("an evaluation's interval holds the mean of other people", case, share, now, runs, aim)
    for name, draw in (("normal", worlds.normal), ("log-normal", worlds.skewed)):
        for people in (5, 10, 20):
            images = np.array([200] + [3] * (people - 1))
            now = sum(_holds_other_people(draw(generator, (people,)), images) for _ in range(runs))
            case = f"{name}, {people} people, one with 200 images and the others with 3 each"
            yield Row("an evaluation's interval holds the mean of other people", case, None, now, runs, ONE_LARGE)


def _holds_other_people(persons: Floats, images: NDArray[np.integer]) -> bool:
    """Whether the interval holds 0, the mean of all people there are.

    Args:
        persons: Value of each, in all images of theirs. [P]
        images: How many each has. [P]
    """
    owners = np.repeat(np.arange(len(persons)), images)
    measured = over_subjects(persons[owners].tolist(), owners.tolist(), "simulation")
    assert measured.low is not None
    assert measured.high is not None
    return measured.low <= 0 <= measured.high


CHECKS: tuple[Check, ...] = (
    interval_of_seeds,
    interval_of_people,
    false_better,
    few_test_people,
    luck_of_people,
    noise_of_epochs,
    failed_seeds,
    constraints,
    single_training,
    needed_seeds,
    needed_seeds_of_people,
    price_of_pruning,
    memory,
    best_of_equals,
    evaluation_of_people,
)

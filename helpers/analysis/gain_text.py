"""Puts a confirmed gain into words, for all: headline, report, notebook and export all show these sentences."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.analysis.paired_gain import MOST_SEEDS, PairedGain, seeds_needed
from helpers.analysis.shares import expected_lead

ONE_PERSON = (
    "One test person says nothing of other people, so no gain is claimed: name more in train_test_split.json, or give more "
    "subjects."
)


@dataclass(frozen=True)
class GainFacts:
    """Everything that is said of a confirmed gain.

    Attributes:
        name: Of the configuration that is best over seeds, such as `trial 7`.
        metric: Name of the metric.
        gain: Of that configuration against the baseline.
        scale: Mean of the baseline over seeds, to which percentages refer; None: it has none.
        candidates: Configurations that were compared with the baseline.
        looks: How often results were looked at, this time included.
        people: Test people that were measured; 0: the validation people gave the values.
        no_people: Why no test people were measured.
        seen_gain: Mean gain on the validation people; None where it is not known or the same.
        seeds: Trained of each.
        failed: Of them, trainings of the configuration that failed.
        baseline_failed: Of them, trainings of the baseline that failed.
        missed: Seeds in which the configuration missed a constraint.
        baseline_missed: Seeds in which the baseline did.
        constraints: That the configuration missed, such as `gaze_error_deg <= 8`.
        baseline_constraints: That the baseline missed.
        next_level: Level of the interval at a further look.
        mesh_heads: Stage one was trained with every seed, too.
    """

    name: str
    metric: str
    gain: PairedGain
    scale: float | None
    candidates: int
    looks: int
    people: int
    no_people: str
    seen_gain: float | None
    seeds: int
    failed: int
    baseline_failed: int
    missed: int
    baseline_missed: int
    constraints: tuple[str, ...]
    baseline_constraints: tuple[str, ...]
    next_level: float
    mesh_heads: bool = False

    @property
    def claimed(self) -> bool:
        """Whether the gain is said without reserve.

        No training failed, constraints hold, and the interval, which several test people are in, is above zero.
        """
        above = self.gain.low is not None and self.gain.low > 0
        return above and bool(self.gain.people) and not (self.failed or self.missed or self.baseline_missed)


def sentences(facts: GainFacts) -> list[str]:
    """Put a gain into words: how much better and how sure, then what the reader must know beside it."""
    reserve = _reserve(facts)
    said = _size(facts)
    first = f"{reserve} {said}" if reserve else said
    return [first, *(text for text in (_single_training(facts), _people(facts), _needed(facts)) if text)]


def _reserve(facts: GainFacts) -> str:
    """What forbids to claim a gain, before its size is said."""
    parts = []
    if facts.failed:
        parts.append(
            f"Failed in {facts.failed} of {facts.seeds} seeds: {facts.name}. A failed training counts as the worst, so no "
            "gain is claimed."
        )
    missing = [
        f"{name} misses {_bounds(names)} in {count} of {facts.seeds} seeds"
        for name, count, names in (
            (facts.name, facts.missed, facts.constraints),
            ("the baseline", facts.baseline_missed, facts.baseline_constraints),
        )
        if count
    ]
    if missing:
        meets = "" if facts.missed or facts.failed else f"; {facts.name} meets it in all"
        parts.append(f"No gain is claimed: {', '.join(missing)}{meets}.")
    if facts.baseline_failed:
        parts.append(f"The baseline failed in {facts.baseline_failed} of {facts.seeds} seeds.")
    return " ".join(parts)


def _bounds(names: tuple[str, ...]) -> str:
    return f"the constraint{'s' if len(names) > 1 else ''} {' or '.join(names)}" if names else "a constraint"


def _size(facts: GainFacts) -> str:
    """Verdict, size and interval."""
    gain = facts.gain
    if gain.mean is None:
        return f"{_upper(facts.name)} and the baseline share no finished seed: no gain can be measured."
    whose = f"{facts.name} against the baseline (the run configuration)"
    if gain.std is not None and (gain.low is None or gain.high is None):
        return (
            f"The seed changes nothing in the difference: {whose}, {facts.metric} {_difference(facts, gain.mean)}, the same in "
            f"all of {gain.pairs} {_seeds(facts)}. That shows no noise; nothing can be said about how sure it is."
        )
    if gain.low is None or gain.high is None:
        return (
            f"One seed says nothing about noise: {whose}, {facts.metric} {_difference(facts, gain.mean)}; nothing can be said "
            "about how sure that is."
        )
    relative = f" ({abs(gain.mean / facts.scale):.1%})" if facts.scale else ""
    amount = f"by {abs(gain.mean):.4g}{relative} in {facts.metric}"
    if gain.mean == 0:
        amount = f"in {facts.metric}"
    interval = f"95% interval of the gain {gain.low:.4g} to {gain.high:.4g} (Student's t{_corrections(facts)})"
    return f"{_verdict(facts)} {amount}, {interval}: {whose}, {_mean_over(facts)}."


def _difference(facts: GainFacts, mean: float) -> str:
    if mean == 0:
        return "is the same"
    return f"differs by {abs(mean):.4g} in favour of {facts.name if mean > 0 else 'the baseline'}"


def _verdict(facts: GainFacts) -> str:
    gain = facts.gain
    assert gain.mean is not None
    assert gain.low is not None
    assert gain.high is not None
    if gain.mean == 0:
        return "No difference was seen"
    if gain.mean < 0:
        return "Not better: worse" if gain.high < 0 else "Not better: worse on average, though that may be chance,"
    if gain.low <= 0:
        return "Better on average, though that may be chance,"
    if facts.failed:
        return "In the seeds that both finished, better"
    if facts.missed or facts.baseline_missed:
        return "Constraints aside, better"
    if facts.people:
        return "Better" if gain.people else "Better on one test person alone"
    return "Better on the validation people alone"


def _corrections(facts: GainFacts) -> str:
    """What both intervals are corrected for; empty: one candidate, looked at once."""
    corrected = [f"{facts.candidates} candidates"] if facts.candidates > 1 else []
    corrected += [f"{facts.looks} looks at the results"] if facts.looks > 1 else []
    return f", corrected for {' and '.join(corrected)}" if corrected else ""


def _mean_over(facts: GainFacts) -> str:
    people = f" and {facts.people} test {'people' if facts.people > 1 else 'person'}" if facts.people else ""
    return f"the mean over {facts.gain.pairs} {_seeds(facts)} of each{people}"


def _seeds(facts: GainFacts) -> str:
    return "seeds of both stages" if facts.mesh_heads else "training seeds"


def _single_training(facts: GainFacts) -> str:
    """Whether a single training would be better; not the same as a mean that is."""
    gain = facts.gain
    if gain.won_low is None or gain.won_high is None or gain.compared < 2:
        return ""
    chosen = f", not corrected for the choice among {facts.candidates} candidates" if facts.candidates > 1 else ""
    modelled = "" if gain.probability is None else f" with probability {share(gain.probability)} (t model{chosen})"
    return (
        f"A new training of {facts.name} beats one of the baseline with the same new seed{modelled}; it won in {gain.won} of "
        f"{gain.compared} seeds, which alone says {gain.won_low:.0%} to {gain.won_high:.0%} (95% Clopper-Pearson"
        f"{_corrections(facts)})."
    )


def _people(facts: GainFacts) -> str:
    """Which people the values are from, and what the others say."""
    if facts.people:
        said = [ONE_PERSON] if facts.people == 1 else []
        if facts.seen_gain is not None:
            said.append(f"On the validation people, which chose epoch and trial, the gain is {facts.seen_gain:.4g}.")
        return " ".join(said)
    return (
        f"No test people were measured ({facts.no_people}): the validation people chose epoch and trial, too, and part of a "
        "gain on them is their luck."
    )


def _needed(facts: GainFacts) -> str:
    """Seeds that would be enough, where these were not."""
    gain = facts.gain
    if gain.mean is None or gain.std is None or gain.low is None or gain.mean <= 0 or gain.low > 0:
        return ""
    if facts.failed or facts.missed or facts.baseline_missed:
        return ""  # whatever the interval, no gain would be claimed
    needed = seeds_needed(gain, facts.next_level)
    if needed is not None:
        return (
            f"If the gain is as large as it seems, {needed} seeds in all would show it in 8 of 10 confirmations, the "
            "correction for the further look included."
        )
    if gain.people_half(facts.next_level) >= gain.mean:
        return "More seeds alone would not show a gain of this size: the test people differ too much, so it takes more of them."
    return f"More than {MOST_SEEDS} seeds would be needed to show a gain of this size."


def share(probability: float) -> str:
    """Write a probability of a model; none is certain."""
    return "> 0.999" if probability > 0.999 else "< 0.001" if probability < 0.001 else f"{probability:.3f}"


def chance_alone(trials: int, noise: float | None) -> str:
    """Say what the best of several is ahead by when none is better.

    Args:
        trials: Finished ones beside the baseline.
        noise: Standard deviation of the metric between training seeds; None: not measured.
    """
    chosen = f"It is the best of {trials} trials beside the baseline, chosen for this value, so part of that is chance"
    if noise is None:
        return f"{chosen}: how much is unknown, since the noise of a training was not measured"
    expected = noise * expected_lead(max(trials, 1))
    return (
        f"{chosen}: as many equal configurations would be ahead by about {expected:.3g} (expected lead at the measured "
        f"standard deviation between trainings, {noise:.3g})"
    )


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]

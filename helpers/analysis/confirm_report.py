"""What a confirmation found: every configuration over its seeds, the order of them, and both on disk."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gazegaussian.utils.plain_files import read_plain
from helpers.analysis.confirmed import Confirmed, confirmed
from helpers.analysis.gain_text import ONE_PERSON, GainFacts, sentences, share
from helpers.analysis.paired_gain import Sample, corrected_level, paired_gain
from helpers.utils.files import content_of

CONFIRM_FILE = "confirm.json"
_EARLIER = "measured by an earlier version; `confirm` again measures them and keeps the trainings"


@dataclass(frozen=True)
class ConfirmReport:
    """What was found, best first; intervals hold for all candidates and looks together.

    Attributes:
        metric: Name of the metric.
        direction: `minimize` or `maximize`.
        seeds: Of the trainings.
        configurations: Judged anew here, since the interval of one depends on how many there are.
        people: Test people that the values are means of; empty: the values are of the validation people.
        no_people: Why there are none.
        compared: Candidates of all looks; None: those of this report.
        looks: At the results, this one included.
        mesh_heads: Stage one was trained with every seed, too.
    """

    metric: str
    direction: str
    seeds: tuple[int, ...]
    configurations: tuple[Confirmed, ...]
    people: tuple[str, ...] = ()
    no_people: str = "none were given"
    compared: int | None = None
    looks: int = 1
    mesh_heads: bool = False

    def __post_init__(self) -> None:
        level = corrected_level(self.candidates, self.looks)
        baseline = self.baseline.sample
        rows = [replace(row, gain=paired_gain(row.sample, baseline, self.sign, level)) for row in self.configurations]
        object.__setattr__(self, "configurations", tuple(sorted(rows, key=self._rank)))

    def _rank(self, row: Confirmed) -> tuple[float, ...]:
        """Order of the configurations: fewest failed or infeasible seeds, then the largest paired improvement."""
        improvement = 0.0 if row.is_baseline else row.gain.mean
        mean = math.inf if row.mean is None else self.sign * row.mean
        unknown = improvement is None
        return row.mean is None, row.unsound, unknown, -(improvement or 0.0), not row.is_baseline, mean

    @property
    def sign(self) -> int:
        """1 where small is good, -1 where large is."""
        return 1 if self.direction == "minimize" else -1

    @property
    def candidates(self) -> int:
        """Configurations that were compared with the baseline."""
        return max(self.compared or 0, sum(not row.is_baseline for row in self.configurations))

    @property
    def baseline(self) -> Confirmed:
        """The values of the run configuration."""
        return next(row for row in self.configurations if row.is_baseline)

    @property
    def best(self) -> Confirmed | None:
        """Largest paired improvement among the others than the baseline; those that fail or miss a constraint come last."""
        return next((row for row in self.configurations if not row.is_baseline and row.mean is not None), None)

    @property
    def noise(self) -> float | None:
        """Standard deviation between trainings with the same seed, as those of a search have, on the validation people.

        What a seed does to all configurations alike is not in it: half the variance of the differences to the baseline, pooled.
        """
        theirs = Sample(self.baseline.seen or self.baseline.values)
        gains = [
            paired_gain(Sample(row.seen or row.values), theirs, self.sign)
            for row in self.configurations
            if not row.is_baseline
        ]
        squares = [(gain.pairs - 1, gain.std**2 / 2) for gain in gains if gain.std is not None]
        freedom = sum(count for count, _ in squares)
        return math.sqrt(sum(count * variance for count, variance in squares) / freedom) if freedom else None

    @property
    def facts(self) -> GainFacts | None:
        """What is said of the best; None when no candidate was trained to the end."""
        best = self.best
        baseline = self.baseline
        if best is None:
            return None
        seen = paired_gain(Sample(best.seen), Sample(baseline.seen), self.sign).mean if self.people else None
        return GainFacts(
            name=f"trial {best.trial}" if best.trial is not None else best.name,
            metric=self.metric,
            gain=best.gain,
            scale=baseline.mean,
            candidates=self.candidates,
            looks=self.looks,
            people=len(self.people),
            no_people=self.no_people,
            seen_gain=seen,
            seeds=len(self.seeds),
            failed=best.failed,
            baseline_failed=baseline.failed,
            missed=best.infeasible,
            baseline_missed=baseline.infeasible,
            constraints=_names(best),
            baseline_constraints=_names(baseline),
            next_level=corrected_level(self.candidates, self.looks + 1),
            mesh_heads=self.mesh_heads,
        )

    @property
    def sentences(self) -> list[str]:
        """How much better and how sure, first, then what must be known beside it."""
        facts = self.facts
        if facts is None:
            return ["No other configuration than the baseline was trained to the end, so nothing can be confirmed."]
        return sentences(facts)

    @property
    def statement(self) -> str:
        """The sentences in one."""
        return " ".join(self.sentences)

    def warnings(self) -> list[str]:
        """What failed, missed a constraint or is smaller than the noise, when trained with several seeds."""
        said = []
        seeds = len(self.seeds)
        for row in self.configurations:
            name = "The baseline" if row.is_baseline else f"Trial {row.trial}"
            if row.failed:
                said.append(
                    f"{name} failed in {row.failed} of {seeds} confirmation seeds; failed ones count as the worst."
                )
            if row.infeasible:
                said.append(
                    f"{name} misses {' and '.join(_names(row))} in {row.infeasible} of {seeds} confirmation seeds."
                )
        best = self.best
        if not self.people:
            said.append(
                f"The gain over seeds was measured on the validation people, which chose epoch and trial ({self.no_people})."
            )
        if len(self.people) == 1:
            said.append(ONE_PERSON)
        if best is None or best.gain.mean is None or best.gain.error is None:
            return said
        if best.gain.error > abs(best.gain.mean):
            said.append(
                f"The noise of the metric is larger than the gain: the mean difference over {best.gain.pairs} seeds is "
                f"{best.gain.mean:.3g}, its standard error {best.gain.error:.3g}."
            )
        return said

    def rows(self) -> list[dict[str, Any]]:
        """One row per configuration, for tables."""
        return [self._row(row) for row in self.configurations]

    def _row(self, row: Confirmed) -> dict[str, Any]:
        gain = None if row.is_baseline else row.gain
        seeds = len(self.seeds)
        seen = [value for value in row.seen if value is not None]
        where = {"mean on validation people": statistics.fmean(seen) if seen else None} if self.people else {}
        won = f"{gain.won} of {gain.compared}" if gain else ""
        kept = (
            {"constraints missed": f"{row.infeasible} of {seeds}"}
            if any(r.infeasible for r in self.configurations)
            else {}
        )
        return {
            "configuration": row.name,
            f"mean {self.metric}": row.mean,
            "standard deviation": row.std,
            **where,
            "finished": f"{seeds - row.failed} of {seeds}",
            **kept,
            "improvement": gain.mean if gain else None,
            "95% low": gain.low if gain else None,
            "95% high": gain.high if gain else None,
            "seeds won": won,
            "wins a new seed (95%)": ""
            if gain is None or gain.won_low is None
            else f"{gain.won_low:.0%} to {gain.won_high:.0%}",
            "t model": "" if gain is None or gain.probability is None else share(gain.probability),
        }


def _names(row: Confirmed) -> tuple[str, ...]:
    """Constraints that it missed in any seed."""
    return tuple(dict.fromkeys(name for missed in row.missed for name in missed))


def judge(
    name: str,
    trial: int | None,
    parameters: dict[str, Any],
    values: Sequence[float | None],
    baseline: Sequence[float | None],
    sign: int,
) -> Confirmed:
    """One candidate alone against the baseline, on the people that gave the values; a report corrects for the others."""
    row = confirmed(name, trial, parameters, values, values)
    return replace(row, gain=paired_gain(row.sample, Sample(tuple(baseline)), sign))


def load_confirm(folder: Path) -> ConfirmReport | None:
    """Read `confirm.json` of a study's folder; None when there is none.

    Only what was measured is read; means and intervals are computed anew, so that files of earlier versions get the
    present ones.
    """
    with content_of(Path(folder) / CONFIRM_FILE):
        return _loaded(folder)


def _loaded(folder: Path) -> ConfirmReport | None:
    content = stored_report(folder)
    if content is None:
        return None
    rows = tuple(
        confirmed(
            row["name"],
            row["trial"],
            row["parameters"],
            row["values"],
            row.get("seen", row["values"]),
            row.get("people", ()),
            row.get("missed", ()),
        )
        for row in content["configurations"]
    )
    return ConfirmReport(
        metric=content["metric"],
        direction=content["direction"],
        seeds=tuple(content["seeds"]),
        configurations=rows,
        people=tuple(content.get("people", ())),
        no_people=content.get("no_people", _EARLIER),
        compared=content.get("compared"),
        looks=content.get("looks", 1),
        mesh_heads=content.get("mesh_heads", False),
    )


def stored_report(folder: Path) -> dict[str, Any] | None:
    """Content of `confirm.json` of a study's folder; None when there is none."""
    path = Path(folder) / CONFIRM_FILE
    return json.loads(read_plain(path)) if path.is_file() else None

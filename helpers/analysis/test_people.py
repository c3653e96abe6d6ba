"""Measures finished trainings on test people: those that no epoch, no trial and no search was chosen by."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gazegaussian.config import RunConfig
from helpers.utils.files import digest_of, stored_json, write_json

if TYPE_CHECKING:
    from helpers.study.isolation import Train

logger = logging.getLogger(__name__)

PEOPLE_FILE = "test_people.json"

Metrics = Mapping[str, float]
# (configuration, checkpoint, people) -> metrics of every person.
Measure = Callable[[RunConfig, Path, Sequence[str]], Mapping[str, Metrics]]


@dataclass(frozen=True)
class TestPeople:
    """Who is measured and how; `people` is empty where no one can be, and `reason` says why."""

    __test__ = False  # for pytest

    people: tuple[str, ...]
    measure: Measure | None
    reason: str = ""


def find_test_people(config: RunConfig, train: Train) -> TestPeople:
    """Find the test people of a study's data.

    Args:
        config: Of the study.
        train: What its trainings are made by; only this project's own stages can be measured.
    """
    from helpers.study.spec import train_run

    if train is not train_run:
        return TestPeople(
            (), None, "the study has a training function of its own and no way to measure test people was given"
        )
    from gazegaussian import measurement

    people, reason = measurement.find_test_people(config)
    return TestPeople(tuple(people), measurement.measure_checkpoint, reason)


def measured(config: RunConfig, folder: Path, checkpoint: Path, test: TestPeople) -> dict[str, dict[str, float]]:
    """Measure one finished training; what was measured before is read.

    Args:
        config: Of the training.
        folder: Of the training.
        checkpoint: Its best epoch.
        test: Who is measured.

    Returns:
        Metrics of every person; empty where no one is measured, or the checkpoint is gone and was never measured.
    """
    if test.measure is None or not test.people:
        return {}
    path = folder / PEOPLE_FILE
    known = stored_json(path)
    if known is not None and not (isinstance(known.get("people"), dict) and "checkpoint" in known):
        known = None
    mark = digest_of(checkpoint) if checkpoint.is_file() else None
    if known is not None and list(known.get("people", ())) == list(test.people) and mark in (None, known["checkpoint"]):
        return known["people"]
    if mark is None:  # freed by hand; the training itself is not repeated for it
        return {}
    logger.info("%s: measuring it on %d test people", folder.name, len(test.people))
    metrics = test.measure(config, checkpoint, test.people)
    people = {person: {name: float(value) for name, value in metrics[person].items()} for person in test.people}
    write_json(path, {"checkpoint": mark, "people": people})
    return people


def has_values(people: Mapping[str, Metrics], metric: str) -> bool:
    """Tell whether the metric was measured on every person, finite or not."""
    return bool(people) and all(metric in row for row in people.values())


def person_values(people: Mapping[str, Metrics], metric: str) -> tuple[float, ...] | None:
    """The metric of every person, in their order; None where it is not measured or not finite for one of them."""
    values = [row.get(metric, math.nan) for row in people.values()]
    return tuple(values) if values and all(map(math.isfinite, values)) else None


def mean_metrics(people: Mapping[str, Metrics]) -> dict[str, float]:
    """Mean over the people of every metric that all of them have."""
    rows = list(people.values())
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}

"""What the audit asks about one parameter: does it reach training, does it bend the ruler?

The parameter is moved alone, from the run configuration's value to the far end of its range (or to another choice), and
the stage is trained for a few steps with the same seed. The two trainings must differ. Then both stages measure the same
weights, and the metric must not differ. A parameter of the model's own shape is spared the second question: its weights
fit no other value. A repeated training tells how much of a difference is chance (CUDA adds in no fixed order).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError
from gazegaussian.fields import parameter_fields
from helpers.search_space import StudyFile
from helpers.short_run import Build, ShortRun, ShortTraining

RULER_TOLERANCE = 1e-6  # of the metric, relative above 1
CHANCE = 3.0  # a difference counts when it is so many times the largest among repeated trainings
MORE_REPEATS = 2  # where trainings cannot be repeated bit for bit
RULER_CHANCE = 10.0  # the same for the ruler, whose chance is known from two numbers only

Bends = bool | Literal["shape"] | None


@dataclass(frozen=True)
class AuditRow:
    """What was found about one parameter; None is a question that could not be asked."""

    parameter: str
    values: tuple[Any, ...]  # compared, the run configuration's first
    reaches_training: bool | None
    bends_ruler: Bends  # "shape": part of the model's shape
    seconds: float
    verdict: str

    @property
    def ok(self) -> bool:
        """Tell whether the parameter may be searched."""
        return self.reaches_training is not False and self.bends_ruler is not True


@dataclass(frozen=True)
class _Reference:
    """The run configuration as it is, trained and trained again: what a parameter is compared with."""

    run: ShortRun
    ruler: dict[str, float]
    chance: float  # distance between trainings of the same configuration
    curve_chance: float
    ruler_chance: dict[str, float]


class Auditor:
    """Compares one parameter after the other; trains a reference once per context of conditional parameters.

    Args:
        study: What is searched.
        base: A `shortened` run configuration.
        build: Makes the stage; the global seed is set before each call.
    """

    def __init__(self, study: StudyFile, base: RunConfig, build: Build) -> None:
        self.study, self.base, self.build = study, base, build
        self.metrics: list[str] = getattr(study, "metrics", [study.metric])
        self.references: dict[str, _Reference] = {}

    def parameter(self, name: str) -> AuditRow:
        """Audit one parameter."""
        started = time.monotonic()
        config = with_parameters(self.base, _context(self.study, self.base, name), f"audit of {name}")
        here = _value(config, name)
        there = _far_value(self.study, name, here)
        if there is None:
            return AuditRow(name, (here,), None, None, 0.0, "has one value only: nothing is searched")
        if name.endswith("_start_epoch"):  # its effect must lie within the epochs that are trained
            config = with_parameters(config, {"epochs": max(config.training.epochs, min(here, there) + 1)})
        reference = self._reference(config)
        changed = with_parameters(config, {name: there}, f"audit of {name} = {there}")
        training = ShortTraining(self.build, changed)
        same_shape = training.run.shapes == reference.run.shapes
        reaches = _reaches(reference, training.run)
        bends: Bends = "shape"
        bent = ""
        section = parameter_fields(config)[name][0]
        if same_shape and section != "model":
            bent = _bent(reference, training.measure(reference.run.weights, self.metrics))
            bends = bool(bent)
        elif section == "data":  # other images under other weights: nothing could tell the two apart
            bent, bends = "changes the images that the metric is measured on", True
        verdict = _verdict((here, there), reaches, bent, bends, training.run.failure)
        return AuditRow(name, (here, there), reaches, bends, time.monotonic() - started, verdict)

    def _reference(self, config: RunConfig) -> _Reference:
        key = config.model_dump_json()
        if key not in self.references:
            training = ShortTraining(self.build, config)
            run = training.run
            if run.failure:
                raise ConfigError(
                    f"The audit cannot train the run configuration itself ({run.failure}). Try a smaller lr or batch_size."
                )
            first, second = (training.measure(run.weights, self.metrics) for _ in range(2))
            del training  # two stages may not fit on a device at once
            again = [ShortTraining(self.build, config).run]
            if run.distance(again[0]) > 0:  # one number says little about the size of chance
                again += [ShortTraining(self.build, config).run for _ in range(MORE_REPEATS)]
            self.references[key] = _Reference(
                run,
                first,
                max(run.distance(other) for other in again),
                max(_curve_distance(run, other) for other in again),
                {name: abs(first[name] - second[name]) for name in first},
            )
        return self.references[key]


def _reaches(reference: _Reference, run: ShortRun) -> bool:
    """Tell whether a value trains differently.

    The weights decide, not the loss: a weight of a term without gradient changes the reported loss alone. Where the
    shapes differ, the parts that differ must also be trained: a wider network that is never called changes nothing.
    """
    base = reference.run
    if run.failure:
        return True
    if run.shapes == base.shapes:
        return run.distance(base) > CHANCE * reference.chance
    other = {name for name in base.shapes.keys() | run.shapes.keys() if base.shapes.get(name) != run.shapes.get(name)}
    trained = not other & (base.parameters | run.parameters) or bool(other & (base.moved | run.moved))
    return trained and _curve_distance(base, run) > CHANCE * reference.curve_chance


def _curve_distance(a: ShortRun, b: ShortRun) -> float:
    if len(a.curve) != len(b.curve):
        return math.inf
    return max((abs(x - y) for x, y in zip(a.curve, b.curve, strict=True)), default=0.0)


def _bent(reference: _Reference, measured: dict[str, float]) -> str:
    """Say which metric of the same weights has changed, or nothing."""
    changes = []
    for name, before in reference.ruler.items():
        now = measured.get(name, math.nan)
        allowed = max(RULER_TOLERANCE * max(1.0, abs(before)), RULER_CHANCE * reference.ruler_chance[name])
        if not (abs(now - before) <= allowed or (math.isnan(now) and math.isnan(before))):
            changes.append(f"{name} of the same weights {before:.6g} -> {now:.6g}")
    return ", ".join(changes)


def _verdict(values: tuple[Any, Any], reaches: bool, bent: str, bends: Bends, failure: str | None) -> str:
    here, there = (shown(value) for value in values)
    found = []
    if not reaches:
        found.append(
            f"does not reach training ({here} and {there} train alike; if it acts only beside some value of another "
            "parameter, say so with `when:`)"
        )
    if bends is True:
        found.append(f"bends the ruler ({bent} for {here} -> {there})")
    if found:
        return " and ".join(found)
    if failure:
        return f"ok, but {there} ends training early: {failure}"
    return "ok (part of the model's shape)" if bends == "shape" else "ok"


def _value(config: RunConfig, name: str) -> Any:
    section, field = parameter_fields(config)[name]
    return getattr(getattr(config, section), field)


def _far_value(study: StudyFile, name: str, here: Any) -> Any:
    """Pick the end of the range, or the choice, that is farthest from the run configuration's value; None without one.

    Of two that are equally far the larger: the effect of a small loss weight is smaller still.
    """
    values = [value for value in study.parameters[name].corners() if value != here]
    if not values:
        return None
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in [*values, here])
    if not numbers:
        return values[0]
    log = getattr(study.parameters[name], "log", False) and here > 0
    return max(values, key=lambda value: (round(abs(math.log(value / here)) if log else abs(value - here), 9), value))


def _context(study: StudyFile, config: RunConfig, name: str) -> dict[str, Any]:
    """Values of the parents under which a conditional parameter acts, the run configuration's own where they do."""
    context: dict[str, Any] = {}
    for parent, wanted in (getattr(study.parameters[name], "when", None) or {}).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        own = _value(config, parent)
        context |= {**_context(study, config, parent), parent: own if own in allowed else allowed[0]}
    return context


def shown(value: Any) -> str:
    """Write a value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

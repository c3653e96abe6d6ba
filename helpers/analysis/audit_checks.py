"""What the audit asks about one parameter: does it reach training, and does it change the metric itself?

The parameter is moved alone, from the run configuration's value to the far end of its range, to the other end, to values
between and to every choice, until one of them is seen to train differently (`helpers.analysis.audit_reach`). None of them
may change the metric of equal weights, or of equal predictions (`helpers.analysis.audit_metric`).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Literal

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import UserError, class_and_line
from gazegaussian.fields import parameter_fields
from helpers.analysis.audit_metric import MetricOfPredictions, MetricOfWeights
from helpers.analysis.audit_probe import Probe
from helpers.analysis.audit_reach import NOTHING, REACHES, Reach, one_step, otherwise
from helpers.analysis.audit_reference import Reference
from helpers.analysis.audit_values import context_of, own_value, shown, values_to_try
from helpers.analysis.short_training import Build, few_validation_images, without_delays
from helpers.search.parameters import Categorical
from helpers.search.study_config import StudyFile

logger = logging.getLogger(__name__)

Changes = bool | Literal["shape"] | None
Word = Literal["ok", "weak", "not asked", "rejected"]


@dataclass(frozen=True)
class AuditRow:
    """What was found about one parameter; None is a question that could not be asked."""

    parameter: str
    values: tuple[Any, ...]  # compared, the run configuration's first
    reaches_training: bool | None
    changes_metric: Changes  # "shape": could not be asked, as when predictions of one shape do not fit the other
    seconds: float
    verdict: str
    share: float | None = None  # of what another seed changes in a step; None where it reaches training by other ways

    @property
    def ok(self) -> bool:
        """Tell whether the parameter may be searched."""
        return self.reaches_training is not False and self.changes_metric is not True

    @property
    def word(self) -> Word:
        """The verdict in a word."""
        if not self.ok:
            return "rejected"
        if self.reaches_training is None or self.changes_metric == "shape":
            return "not asked"
        return "weak" if self.share is not None and self.share < REACHES else "ok"


@dataclass
class _Context:
    """What parameters are compared with that act under the same conditions."""

    reference: Reference
    bent: dict[str, str]  # by parameter: what it changes of the metric of the same weights
    blind: str  # why no change could be seen
    predictions: MetricOfPredictions | None = None


class Auditor:
    """Compares one parameter after the other; trains a reference once per context of conditional parameters.

    Args:
        study: What is searched.
        base: The run configuration that trials start from.
        build: Makes the stage; the global seed is set before each call.
    """

    def __init__(self, study: StudyFile, base: RunConfig, build: Build) -> None:
        self.study = study
        self.base = as_audited(base)
        self.build = build
        self.metrics = list(dict.fromkeys([*study.metrics, *(limit.metric for limit in study.limits)]))
        self.contexts: dict[str, _Context] = {}

    def parameter(self, name: str) -> AuditRow:
        """Audit one parameter."""
        started = time.monotonic()
        config = with_parameters(self.base, context_of(self.study, self.base, name), f"audit of {name}")
        here = own_value(config, name)
        values = values_to_try(self.study.parameters[name], here)
        if not values:
            return AuditRow(name, (here,), None, None, 0.0, "has one value only: nothing is searched")
        context = self._context(config)
        reach = NOTHING
        failures = {}
        silent = _not_asked(self.study, config, name, [here, *values])
        bent = context.bent.get(name, "")
        unasked = ""
        own_shape = parameter_fields(config)[name][0] == "model"
        for value in values:
            if bent and reach.effective:
                break
            if reach.effective and (reach.share is None or reach.share >= REACHES) and not own_shape:
                break
            changed = with_parameters(few_validation_images(config), {name: value}, f"audit of {name} = {shown(value)}")
            answer, text, why = self._value(context, changed, own_shape, asked=not silent)
            if answer.failure:
                failures[value] = answer.failure
            reach = _stronger(reach, answer)
            bent = bent or (f"{text} for {shown(here)} -> {shown(value)}" if text else "")
            unasked = unasked or why
        if not reach.effective and not silent:
            reach = self._otherwise(context.reference, config, name, values)
        if reach.luck and not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            reach = NOTHING  # a switch or a name is no seed
            silent = (
                "it changes which random numbers are drawn, or in which order, and a few steps do not show whether more"
            )
        if not reach.effective and not reach.luck and not silent:
            reach = self._beside_others(config, name, values)
        unasked = unasked or context.blind
        bends: Changes = True if bent else "shape" if unasked else False
        return AuditRow(
            name,
            (here, *values),
            None if silent else reach.effective,
            bends,
            time.monotonic() - started,
            _verdict((here, *values), silent, reach, bent, unasked, failures),
            reach.share if not silent and reach.effective else None,
        )

    def _value(self, context: _Context, config: RunConfig, own_shape: bool, asked: bool) -> tuple[Reach, str, str]:
        """Ask one value: how it reaches training, what it changes of the metric, why that could not be asked."""
        reference = context.reference
        try:
            probe = Probe(self.build, config)
            reach = one_step(reference, probe) if asked else NOTHING
        except UserError:
            raise
        except Exception as error:  # whatever a stage raises for a value that it cannot use: a study's trial would fail
            return Reach(failure=class_and_line(error)), "", ""
        if not own_shape and probe.shapes == reference.shapes:
            return reach, "", ""
        if context.predictions is None:
            context.predictions = MetricOfPredictions(reference.probe(), self.metrics, reference.batch, reference.epoch)
        probe.restore(reference.snapshot, reference.built)
        text, why = context.predictions.changed_by(probe)
        return reach, text, why

    def _otherwise(self, reference: Reference, config: RunConfig, name: str, values: list[Any]) -> Reach:
        """Ask the values that one step does not tell apart about whatever else they may act through."""
        luck = False
        for value in values:
            changed = with_parameters(few_validation_images(config), {name: value})
            answer = otherwise(reference, changed)
            if answer.effective:
                return answer
            luck |= answer.luck
        return Reach(0.0, luck=luck)

    def _beside_others(self, config: RunConfig, name: str, values: list[Any]) -> Reach:
        """Ask once more beside other searched values: those of the run configuration may switch the parameter off."""
        moved = {other: tried[0] for other, tried in self._together(config).items() if other != name}
        best = NOTHING
        try:
            others = with_parameters(few_validation_images(config), moved)
            reference = Reference(self.build, others)
            for value in values if moved and reference.chance == 0 else []:
                best = _stronger(best, one_step(reference, Probe(self.build, with_parameters(others, {name: value}))))
        except Exception:  # these values end training, or cannot be used together
            logger.debug("audit of %s beside %s", name, moved, exc_info=True)
        return NOTHING if best.failure else best

    def _context(self, config: RunConfig) -> _Context:
        key = config.model_dump_json()
        if key not in self.contexts:
            reference = Reference(self.build, few_validation_images(config))
            weights = MetricOfWeights(self.build, config, (reference.snapshot, reference.built), self.metrics)
            blind = [metric for metric in self.metrics if not math.isfinite(weights.before.get(metric, 0.0))]
            text = f"{blind[0]} is not finite after the few steps of the audit" if blind else ""
            self.contexts[key] = _Context(reference, weights.changed_together(self._together(config)), text)
        return self.contexts[key]

    def _together(self, config: RunConfig) -> dict[str, list[Any]]:
        """Values of the parameters of a context that leave the networks' shape alone, by name."""
        together = {}
        for name, space in self.study.parameters.items():
            if parameter_fields(config)[name][0] == "model":
                continue
            if with_parameters(self.base, context_of(self.study, self.base, name)) != config:
                continue
            here = own_value(config, name)
            values = values_to_try(space, here)
            if values:  # a choice may switch others off: now and then it stays as it is
                together[name] = [*values, here] if isinstance(space, Categorical) else values
        return together


def as_audited(config: RunConfig) -> RunConfig:
    """Return the configuration with every loss term acting from the first epoch, and without what the audit cannot use."""
    return with_parameters(without_delays(config), {"preview_images": 0, "workers": 0})


def _stronger(one: Reach, other: Reach) -> Reach:
    """Of two ways to reach training the one that says more."""
    if not other.effective:
        return one
    if not one.effective or other.share is None:
        return other
    if one.share is None:
        return one
    return max(one, other, key=lambda reach: reach.share or 0.0)


def _not_asked(study: StudyFile, config: RunConfig, name: str, values: list[Any]) -> str:
    """Say why a few steps cannot show what a parameter does; empty where they can."""
    epochs = config.training.epochs
    if name in ("patience", "min_delta"):
        alone = name == "min_delta" and config.training.patience is None and "patience" not in study.parameters
        return "it decides when a training stops" + (", and only where patience is set" if alone else "")
    if name == "lr_decay" and epochs == 1:
        return "one epoch has no decay"
    if name.endswith("_start_epoch"):
        late = [value for value in values[1:] if value >= epochs]
        if late and len(late) == len(values) - 1:
            return f"it acts after the {epochs} epochs of a trial"
    return ""


def _verdict(
    values: tuple[Any, ...], silent: str, reach: Reach, bent: str, unasked: str, failures: dict[Any, str]
) -> str:
    faults = []
    if reach.luck:
        faults.append("acts through random numbers only, as another seed does")
    elif not silent and not reach.effective:
        faults.append(
            f"does not reach training ({', '.join(map(shown, values))} train alike; if it acts only beside some value of "
            "another parameter, say so with `when:`)"
        )
    if bent:
        faults.append(f"changes the metric ({bent})")
    if faults:
        return " and ".join(faults)
    text = "ok"
    if silent:
        text = f"not asked whether it reaches training: {silent}"
    elif reach.share is not None and reach.share < REACHES:
        text = f"weak: changes a step by {100 * reach.share:.2g}% of what another seed does"
    if unasked:
        text += f"; not asked whether it changes the metric: {unasked}"
    if failures:
        value, failure = next(iter(failures.items()))
        text += f", but {shown(value)} ends training early: {failure}"
    return text

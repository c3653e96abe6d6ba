"""Does a parameter change the metric itself? The metric is measured on equal weights, or on equal predictions.

Parameters that leave the networks alone are moved together, some times with other values, and the metric of the same
weights is measured on all validation images of the study. Only where it changes is each of them asked by itself. A
parameter of the networks changes what they predict, so there the predictions of the run configuration are handed to the
other stage in place of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError
from gazegaussian.training.stage import Stage, to_device
from gazegaussian.training.step import autocast
from helpers.analysis.audit_probe import TRAINING_ENDS, Probe, Snapshot
from helpers.analysis.audit_values import own_value, shown
from helpers.analysis.short_training import Build, ShortTraining, quiet_package

TOLERANCE = 1e-6  # of the metric
SMALLEST = 1e-12  # difference that is none, of a metric near zero
REPEATS = 4  # of a metric that changes, of each of the two values: chance must not explain it

OF_TRAINING = ("train_loss", "loss_")  # with the trial's own weights
_COSTS = ("train_seconds", "seconds")  # measured outside the stage

# Of predictions, to see which metrics read them: none preserves the order, the sign and the size.
ALTERATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda value: 1.5 * value + 0.25,
    lambda value: -value,
    lambda value: value.flatten().flip(0).view(value.shape),
)
# What a stage may raise for a value that it cannot use, or for predictions of another shape than it expects.
MISFITS = (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError)

Metrics = dict[str, float]


class OtherShapes(Exception):
    """The weights do not fit: the question must be asked on equal predictions."""


class NotTheSameCalls(Exception):
    """The networks are called differently: predictions of one stage cannot stand in for the other's."""


class MetricOfWeights:
    """Measures the metric of the same weights under other configurations.

    Args:
        build: Makes the stage.
        config: The study's run configuration, with all its validation images.
        start: Weights that are measured, and the state dict as it was built with them.
        metrics: What the study aims at.
    """

    def __init__(
        self, build: Build, config: RunConfig, start: tuple[Snapshot, Mapping[str, Tensor]], metrics: list[str]
    ) -> None:
        self.build = build
        self.config = config
        self.snapshot, self.built = start
        self.metrics = metrics
        self.known: set[str] = set()  # all that the stage measures
        self._probe: tuple[str, Probe] | None = None
        self.before = self.measure({})
        missing = [name for name in metrics if name not in (*self.before, *_COSTS)]
        if missing and missing[0].startswith(OF_TRAINING):
            raise ConfigError(
                f"metric {missing[0]!r} is measured in training, with each trial's own loss weights: trials cannot be compared by "
                f"it. Take one of validation: {', '.join(sorted(self.known))}."
            )
        if missing:
            raise ConfigError(f"metric {missing[0]!r} is not measured here; measured: {', '.join(sorted(self.known))}.")

    def measure(self, values: Mapping[str, Any]) -> Metrics:
        """Measure with some values replaced.

        Raises:
            OtherShapes: The weights do not fit.
        """
        config = with_parameters(self.config, values, "audit")
        key = config.model_dump_json()
        if self._probe is None or self._probe[0] != key:
            self._probe = None  # two stages may not fit on a device at once
            self._probe = key, Probe(self.build, config)
        probe = self._probe[1]
        if probe.shapes != {name: value.shape for name, value in self.built.items()}:
            raise OtherShapes
        probe.restore(self.snapshot, self.built)
        measured = validated(probe)
        self.known = set(measured)
        return {name: measured[name] for name in self.metrics if name in measured}

    def changed_together(self, values: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Move many parameters at once, each through all its values.

        Args:
            values: To be tried, by parameter.

        Returns:
            What a parameter changes, by parameter; those that change nothing, or that cannot be asked so, are missing.
        """
        changes: dict[str, str] = {}
        rounds = [{name: tried[0] for name, tried in values.items()}] if len(values) > 1 else []
        for number in range(max((len(tried) for tried in values.values()), default=0)):
            # A parameter must not always meet the same value of another, which may switch it off or cancel it.
            numbered = enumerate(values.items())
            rounds.append({name: tried[(number + position) % len(tried)] for position, (name, tried) in numbered})
        for moved in rounds:
            try:
                if not different(self.before, self.measure(moved)):
                    continue
            except (OtherShapes, ConfigError, *TRAINING_ENDS, *MISFITS):
                pass
            alone = {name: text for name, value in moved.items() if (text := self.changed_by(name, value))}
            changes = {**alone, **changes}
            if not alone:
                changes = {**self._only_together(moved), **changes}
        return changes

    def changed_by(self, name: str, value: Any) -> str:
        """Say which metric a value changes, or nothing."""
        try:
            now = self.measure({name: value})
            if not different(self.before, now):
                return ""
            after = [now, *(self.measure({name: value}) for _ in range(REPEATS - 1))]
        except (OtherShapes, ConfigError, *TRAINING_ENDS, *MISFITS):
            return ""
        before = [self.measure({}) for _ in range(REPEATS)]
        changes = beyond_chance(before, after, "weights")
        return f"{changes} for {shown(own_value(self.config, name))} -> {shown(value)}" if changes else ""

    def _only_together(self, moved: Mapping[str, Any]) -> dict[str, str]:
        """Name those of a joint change without which the metric stays."""
        changes = {}
        try:
            now = self.measure(moved)
            again = [self.measure({}), self.measure({})]
            if any(different(again[0], other) for other in (again[1], self.before)):
                return {}  # the metric differs from one measurement to the next
            for name in moved:
                others = {key: value for key, value in moved.items() if key != name}
                if not different(self.before, self.measure(others)):
                    beside = ", ".join(f"{key} {shown(value)}" for key, value in others.items())
                    changes[name] = f"{different(self.before, now)} for {shown(moved[name])} beside {beside}"
        except (OtherShapes, ConfigError, *TRAINING_ENDS, *MISFITS):
            return {}
        return changes


class MetricOfPredictions:
    """Measures the metric, and the losses of a batch, of the run configuration's predictions under other configurations.

    What reads no prediction (the number of weights, say) is left out: a parameter of the networks may change it.

    Args:
        probe: Of the run configuration, set back to the weights.
        metrics: What the study aims at.
        batch: A training batch.
        epoch: Of the losses.
    """

    def __init__(self, probe: Probe, metrics: list[str], batch: Any, epoch: int) -> None:
        self.metrics = metrics
        self.batch = batch
        self.epoch = epoch
        self.calls: list[tuple[str, Any]] = []
        self.training_calls: list[tuple[str, Any]] = []
        with recorded(probe.stage, self.calls):
            before = self._of(validated(probe))
        self.before = [before]
        if self.calls:  # else nothing is asked
            self.draws = bool(different(before, self._of(validated(probe, seed=1))))  # random numbers, such as dropout
            self.metrics = self._readers(probe, before)
            with suppress(NotTheSameCalls):  # no two validations of this stage are alike
                self.before = [self._replayed(probe, self.calls) for _ in range(REPEATS)]
        with recorded(probe.stage, self.training_calls):
            self.terms = _terms(probe, batch, epoch)

    def _of(self, measured: Metrics) -> Metrics:
        return {name: measured[name] for name in self.metrics if name in measured}

    def _replayed(self, probe: Probe, calls: Sequence[tuple[str, Any]]) -> Metrics:
        with replayed(probe.stage, calls):
            return self._of(validated(probe))

    def _readers(self, probe: Probe, before: Metrics) -> list[str]:
        """Metrics that change with the predictions; all where others cannot be measured."""
        others = []
        for change in ALTERATIONS:
            try:
                others.append(self._replayed(probe, [(name, _altered(result, change)) for name, result in self.calls]))
            except (*MISFITS, NotTheSameCalls):
                return self.metrics
        return [name for name in before if any(different({name: before[name]}, now) for now in others)]

    def changed_by(self, probe: Probe) -> tuple[str, str]:
        """Ask another stage.

        Returns:
            What changes, and why the question could not be asked; at most one of them says something.
        """
        if not self.calls:
            return "", "the metric calls no network of the stage"
        if not self.metrics:
            return "", "the metric reads nothing that the networks return"
        try:
            now = self._replayed(probe, self.calls)
            if not different(self.before[0], now):
                return "", "validation draws random numbers" if self.draws else ""
            after = [now, *(self._replayed(probe, self.calls) for _ in range(REPEATS - 1))]
            difference = beyond_chance(self.before, after, "predictions")
            if not difference:
                return "", ""
            with replayed(probe.stage, self.training_calls):
                terms = _terms(probe, self.batch, self.epoch)
        except NotTheSameCalls:
            return "", "it changes which networks are called"
        except TRAINING_ENDS:
            return "", "its value ends training"
        except MISFITS:
            return "", "the predictions of one shape do not fit the other"
        largest = max(self.terms, key=lambda name: abs(self.terms[name]))
        if different(
            {largest: self.terms[largest]}, terms
        ):  # then the predictions are not all that the networks return
            return "", "it acts outside the networks, too"
        return difference, ""


def _altered(content: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What a network returned, with other numbers."""
    if isinstance(content, Tensor):
        return change(content) if content.is_floating_point() else content
    if isinstance(content, dict):
        return {key: _altered(value, change) for key, value in content.items()}
    if isinstance(content, list | tuple):
        parts = [_altered(value, change) for value in content]
        return type(content)(*parts) if hasattr(content, "_fields") else type(content)(parts)
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        names = [field.name for field in dataclasses.fields(content) if field.init]
        return dataclasses.replace(content, **{name: _altered(getattr(content, name), change) for name in names})
    return content


def validated(probe: Probe | ShortTraining, seed: int = 0) -> Metrics:
    """Measure all that the stage measures, as the trainer does; `seed` is added to the run's."""
    probe.stage.module.eval()
    torch.manual_seed(probe.config.training.seed + seed)
    with torch.no_grad(), autocast(probe.trainer.device, probe.trainer.dtype), quiet_package():
        measured = probe.stage.validate()
    return {name: float(value) for name, value in measured.items()}


def _terms(probe: Probe, batch: Any, epoch: int) -> Metrics:
    probe.stage.module.train()
    torch.manual_seed(probe.config.training.seed)
    with torch.no_grad(), autocast(probe.trainer.device, probe.trainer.dtype), quiet_package():
        return {
            name: float(value)
            for name, value in probe.stage.losses(to_device(copy.deepcopy(batch), probe.trainer.device), epoch).items()
        }


def different(before: Metrics, now: Metrics) -> str:
    """Say which numbers differ, or nothing."""
    changes = []
    for name, old in before.items():
        new = now.get(name, math.nan)
        near = abs(new - old) <= max(SMALLEST, TOLERANCE * abs(old))
        if not near and not (math.isnan(new) and math.isnan(old)) and new != old:
            changes.append(f"{name} {old:.6g} -> {new:.6g}")
    return ", ".join(changes)


def beyond_chance(before: Sequence[Metrics], after: Sequence[Metrics], same: str) -> str:
    """Say which metric of the `same` weights or predictions lies apart in all repeats, by more than those differ, or nothing."""
    changes = []
    for name in before[0]:
        old = [row[name] for row in before]
        new = [row.get(name, math.nan) for row in after]
        if any(map(math.isnan, [*old, *new])):
            apart = any(map(math.isnan, old)) != any(map(math.isnan, new))
        else:
            gap = max(min(new) - max(old), min(old) - max(new))
            apart = gap > max(max(old) - min(old), max(new) - min(new), SMALLEST, TOLERANCE * abs(old[0]))
        if apart:
            changes.append(f"{name} of the same {same} {old[0]:.6g} -> {new[0]:.6g}")
    return ", ".join(changes)


@contextmanager
def recorded(stage: Stage, calls: list[tuple[str, Any]]) -> Iterator[None]:
    """Note what the networks return, calls inside of calls left out."""

    def wrap(name: str, forward: Callable[..., Any], depth: list[int]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            try:
                result = forward(*args, **kwargs)
            finally:
                depth[0] -= 1
            if depth[0] == 0:
                calls.append((name, result))
            return result

        return call

    with _wrapped(stage, wrap):
        yield


@contextmanager
def replayed(stage: Stage, calls: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """Let the networks return what was noted, in the same order, and compute nothing.

    Raises:
        NotTheSameCalls: Another network is called, or not as often.
    """
    left = list(calls)

    def wrap(name: str, forward: Callable[..., Any], depth: list[int]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not left or left[0][0] != name:
                raise NotTheSameCalls
            return left.pop(0)[1]

        return call

    with _wrapped(stage, wrap):
        yield
        if left:
            raise NotTheSameCalls


@contextmanager
def _wrapped(stage: Stage, wrap: Callable[[str, Callable[..., Any], list[int]], Callable[..., Any]]) -> Iterator[None]:
    depth = [0]
    wrapped: list[nn.Module] = []
    try:
        for name, module in stage.module.named_modules():
            if "forward" not in vars(module):
                module.forward = wrap(name, module.forward, depth)
                wrapped.append(module)
        yield
    finally:
        for module in wrapped:
            del module.forward

"""Does a value of a parameter reach training? First one step is asked, then whatever else it may act through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gazegaussian.config import RunConfig
from gazegaussian.errors import UserError, class_and_line
from helpers.analysis.audit_chance import is_another_draw, only_reordered, rows_of
from helpers.analysis.audit_metric import validated
from helpers.analysis.audit_probe import TRAINING_ENDS, Probe, Step, difference, norm
from helpers.analysis.audit_reference import Reference, repeated
from helpers.analysis.short_training import ShortTraining, shortened

REACHES = 0.01  # of what another seed changes in a step; less is weak
WEAKEST = 3e-5  # of the same; less is rounding
IDLE = 1e-8  # of the gradient: parts of a model's shape that get less are not trained
SHORT_SHARE = 1e-3  # of the way that a short training goes
MOST_EPOCHS = 40  # that are looked at one by one
CHANCE_OF_MANY = 20.0  # times the difference of two equal steps: many steps are asked, one by one


@dataclass(frozen=True)
class Reach:
    """How a value reaches training.

    Attributes:
        share: Of what another seed changes in a step; None where it reaches training by other ways.
        luck: It acts as another seed does and not otherwise.
        failure: Why it ends training.
    """

    share: float | None = None
    luck: bool = False
    failure: str | None = None

    @property
    def effective(self) -> bool:
        """Tell whether it reaches training."""
        return not self.luck and (self.share is None or self.share >= WEAKEST)


NOTHING = Reach(0.0)


def one_step(reference: Reference, probe: Probe) -> Reach:
    """Ask one step from the saved state; the probe is left in some other state.

    Args:
        reference: The run configuration.
        probe: Of the value.
    """
    if probe.shapes != reference.shapes:
        return _other_shapes(reference, probe)
    probe.restore(reference.snapshot, reference.built)
    step = probe.step(reference.batch, reference.epoch)
    if step.failure:
        return Reach(failure=step.failure)
    share = reference.effect(step)
    if share == 0 and reference.chance > 0:
        again = repeated(probe, reference)
        failure = next((other.failure for other in again if other.failure), None)
        return Reach(failure=failure) if failure else Reach(reference.effect(step, again))
    return Reach(share)


def _other_shapes(reference: Reference, probe: Probe) -> Reach:
    """Ask whether what has another shape is trained: a wider network that is never called changes nothing."""
    shapes = reference.shapes
    other = {name for name in shapes.keys() | probe.shapes.keys() if shapes.get(name) != probe.shapes.get(name)}
    prepared = {name for name in reference.built if not torch.equal(reference.built[name], reference.prepared[name])}
    try:
        if other & prepared:
            probe.prepare()
        probe.restore(reference.snapshot, reference.built)
        steps = [probe.step(reference.batch, reference.epoch) for _ in range(2)]
    except TRAINING_ENDS as error:
        return Reach(failure=class_and_line(error))
    failure = next((step.failure for step in steps if step.failure), None)
    if failure:
        return Reach(failure=failure)
    if not other & (reference.trained | probe.trained):  # buffers and frozen weights: the loss must tell
        before, now = (sum(step.terms.values()) for step in (reference.step, steps[0]))
        return Reach() if abs(now - before) > WEAKEST * abs(before) else NOTHING
    for step in (reference.step, *steps):
        mine = norm(value for name, value in step.gradients.items() if name in other)
        if mine > IDLE * step.gradient_norm:
            return Reach()
    return NOTHING


def otherwise(reference: Reference, config: RunConfig) -> Reach:
    """Ask everything that one step at the end of training does not show: what the value may act through instead.

    Earlier epochs, buffers that the metric reads, batches, the start, and, last, two epochs of the real trainer.

    Args:
        reference: The run configuration.
        config: With the value. One that changes shapes has answered before.
    """
    try:
        probe = Probe(reference.build, config)
        if probe.shapes != reference.shapes:
            return NOTHING
        luck = False
        for question in (_batches, _epochs, _start):  # the likely and cheap ones first
            answer = question(reference, probe)
            if answer.effective:
                return answer
            luck |= answer.luck
        if luck:
            return Reach(luck=True)
        del probe
        return _short_training(reference, config)
    except UserError:
        raise
    except Exception as error:  # see `Auditor._value`
        return Reach(failure=class_and_line(error))


def _epochs(reference: Reference, probe: Probe) -> Reach:
    """Look at every epoch's step, or at many of them: on the same batch, what it leaves to the metric, on the value's own batch."""
    count = reference.config.training.epochs
    base = reference.probe()
    best = 0.0
    for epoch in sorted({round(index * (count - 1) / (MOST_EPOCHS - 1)) for index in range(MOST_EPOCHS)}):
        own = [one.batches(epoch, 1) for one in (base, probe)]
        before, now = (_step(reference, one, reference.batch, epoch) for one in (base, probe))
        if before.failure or now.failure:
            continue
        share = difference(before, now, reference.scale)
        if share > max(WEAKEST, CHANCE_OF_MANY * reference.chance):
            return Reach(share)
        best = max(best, share) if reference.chance == 0 else best
        if (answer := _buffers(reference, probe, before, now)).effective:
            return answer
        if all(own) and rows_of(own[0][0]) != rows_of(own[1][0]):
            first, second = own[0][0], own[1][0]
            answer = _other_batch(reference, probe, first, second, _step(reference, base, first, reference.epoch))
            if answer.effective or answer.luck:
                return answer
    return Reach(best)


def _step(reference: Reference, probe: Probe, batch: Any, epoch: int) -> Step:
    probe.restore(reference.snapshot, reference.built)
    return probe.step(batch, epoch)


def _buffers(reference: Reference, probe: Probe, before: Step, now: Step) -> Reach:
    """Compare what a step does to buffers, such as an average of the weights, where the metric reads them.

    Args:
        reference: The run configuration.
        probe: Of the value, just after its step.
        before: Step of the run configuration.
        now: Step of the value.
    """
    base = before.untrained
    changed = {
        name
        for name, value in now.untrained.items()
        if name in base and norm([value - base[name]]) > WEAKEST * norm([base[name]])
    }
    if not changed or reference.chance > 0:
        return NOTHING
    start = reference.snapshot.weights
    return _read(probe, {name: start[name] + base[name].to(start[name]) for name in changed})


def _read(probe: Probe | ShortTraining, values: dict[str, torch.Tensor]) -> Reach:
    """Tell whether the metric reads entries of the state dict: it is measured with other values of them, too."""
    old = validated(probe)
    probe.stage.module.load_state_dict({**probe.stage.module.state_dict(), **values})
    now = validated(probe)
    changed = [name for name in old if old[name] != now[name] and not math.isnan(old[name] + now[name])]
    return Reach() if changed else NOTHING


def _batches(reference: Reference, probe: Probe) -> Reach:
    """Take the step on the value's own batch, count its batches, and see whether it merely holds other images."""
    own = probe.batches(0, 1)
    if not own:
        return NOTHING
    answer = _other_batch(reference, probe, reference.batch, own[0], reference.step)
    if answer.effective or answer.luck or answer.failure:
        return answer
    return Reach() if probe.count(0) != reference.count else answer


def _other_batch(reference: Reference, probe: Probe, first: Any, second: Any, before: Step) -> Reach:
    """Take the step on a batch of the value, beside the one on the run configuration's.

    Args:
        reference: The run configuration.
        probe: Of the value.
        first: Batch of the run configuration.
        second: The value's batch in its place.
        before: Step of the run configuration on its batch.
    """
    now = _step(reference, probe, second, reference.epoch)
    if before.failure or now.failure:
        return Reach(failure=before.failure or now.failure)
    share = difference(before, now, reference.scale)
    if share <= max(WEAKEST, CHANCE_OF_MANY * reference.chance):
        return Reach(0.0)
    same_size = len(rows_of(first)) == len(rows_of(second))
    if same_size and only_reordered(reference.rows, reference.rows_by_epoch(probe), first, second):
        return Reach(luck=True)
    return Reach(share)


def _start(reference: Reference, probe: Probe) -> Reach:
    """Compare the weights that training starts from, before and after the stage prepares them."""
    probe.stage.module.load_state_dict({**probe.stage.module.state_dict(), **probe.built})  # no step was taken yet
    for base, own in ((reference.built, lambda: probe.built), (reference.prepared, probe.prepare)):
        answer = _compared(base, own, reference)
        if answer.effective or answer.luck:
            return answer
    return NOTHING


def _compared(base: dict[str, torch.Tensor], own: Callable[[], dict[str, torch.Tensor]], reference: Reference) -> Reach:
    other = own()
    names = [name for name in base if name in reference.parameters]
    way = norm(base[name] - other[name] for name in names)
    if way <= WEAKEST * norm(base[name] for name in names):
        return NOTHING
    first = {name: base[name] for name in names}
    return Reach(luck=True) if is_another_draw(first, {name: other[name] for name in names}) else Reach()


def _short_training(reference: Reference, config: RunConfig) -> Reach:
    """Train two epochs of the real trainer: a stage may count its own steps."""
    base = ShortTraining(reference.build, shortened(reference.config)).run
    other = ShortTraining(reference.build, shortened(config))
    run = other.run
    if run.failure:
        return Reach(failure=run.failure)
    if base.failure or base.shapes != run.shapes:
        return NOTHING
    way = base.distance(run)
    allowed = SHORT_SHARE * base.length
    if way > allowed:
        runs = (ShortTraining(reference.build, shortened(reference.config)).run for _ in range(3))
        return Reach() if way > 3 * max(base.distance(again) for again in runs) else NOTHING
    if reference.chance > 0:
        return NOTHING
    return _read(other, {name: base.weights[name] for name in other.averages - base.parameters})

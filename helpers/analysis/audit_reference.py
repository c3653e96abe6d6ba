"""The run configuration as the audit trains it: a state to start from, and what chance and another seed do there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from helpers.analysis.audit_chance import MOST_ELEMENTS, REPEATS, repeated_effect, rows_of
from helpers.analysis.audit_probe import Probe, Snapshot, Step, difference
from helpers.analysis.short_training import Build

WARM_UP = 4  # steps before the saved state: Adam knows the size of gradients, and what starts at zero has moved
BATCHES = 2  # of the warm-up, each visited again and again
POOL_EPOCHS = 8  # whose images are known, to see whether another order holds the same ones
CLEAR = 10.0  # times the difference of two equal steps; what is less is asked again and again


class Reference:
    """What the values of parameters are compared with, for one context of conditional parameters.

    Args:
        build: Makes the stage.
        config: A run configuration with few validation images.

    Raises:
        ConfigError: It cannot be trained.
    """

    def __init__(self, build: Build, config: RunConfig) -> None:
        self.build = build
        self.config = config
        self.epoch = config.training.epochs - 1  # late terms act, and a schedule has done its work
        probe = Probe(build, config)
        self.parameters = probe.parameters
        self.trained = probe.trained
        self.shapes = probe.shapes
        self.built = probe.built
        self.prepared = probe.prepare()
        self.batches = probe.batches(0, BATCHES)
        if not self.batches:
            raise ConfigError("the training split holds no usable image; check the data with `data check`.")
        for number in range(WARM_UP):
            self._trained(probe.step(self.batches[number % len(self.batches)], self.epoch))
        self.snapshot: Snapshot = probe.snapshot()
        self.batch = self.batches[0]
        del probe  # two stages may not fit on a device at once
        probe = self.probe()
        self.step = self._trained(probe.step(self.batch, self.epoch))
        self.scale = self._another(probe)
        probe.restore(self.snapshot, self.built)
        self.chance = difference(self.step, self._trained(probe.step(self.batch, self.epoch)), self.scale)

    def probe(self) -> Probe:
        """Build the stage of the run configuration, set back to the state."""
        probe = Probe(self.build, self.config)
        probe.restore(self.snapshot, self.built)
        return probe

    @cached_property
    def repeats(self) -> list[Step]:
        """The same step again and again."""
        return repeated(self.probe(), self)

    @cached_property
    def count(self) -> int:
        """How many batches the first epoch has."""
        return self.probe().count(0)

    @cached_property
    def rows(self) -> list[list[bytes]]:
        """Digests of the images that some epochs hold."""
        return self.rows_by_epoch(self.probe())

    def rows_by_epoch(self, probe: Probe) -> list[list[bytes]]:
        """The same of any value."""
        epochs = range(max(2, min(self.config.training.epochs, POOL_EPOCHS)))
        return [[row for batch in probe.batches(epoch, 10**6) for row in rows_of(batch)] for epoch in epochs]

    def effect(self, step: Step, again: Sequence[Step] | None = None) -> float:
        """Say how much a step differs from the run configuration's, beyond chance, as a share of another seed's."""
        share = difference(self.step, step, self.scale)
        if self.chance == 0 or share > CLEAR * self.chance:
            return share
        return repeated_effect(self.repeats, again, self.scale.thinned(self.stride)) if again else 0.0

    @property
    def stride(self) -> int:
        """Of the elements that are kept of repeated steps."""
        return -(-sum(value.numel() for value in self.step.updates.values()) // MOST_ELEMENTS)

    def _trained(self, step: Step) -> Step:
        if step.failure:
            raise ConfigError(
                f"The audit cannot train the run configuration itself ({step.failure}). Try a smaller lr or batch_size."
            )
        return step

    def _another(self, probe: Probe) -> Step:
        """The step on other images, which another seed would have drawn."""
        others: list[Any] = self.batches[1:2] or probe.batches(1, 1)
        probe.restore(self.snapshot, self.built)
        return self._trained(probe.step(others[0] if others else self.batch, self.epoch))


def repeated(probe: Probe, reference: Reference) -> list[Step]:
    """Take the step of a reference again and again."""
    steps = []
    for _ in range(REPEATS):
        probe.restore(reference.snapshot, reference.built)
        steps.append(probe.step(reference.batch, reference.epoch).thinned(reference.stride))
    return steps

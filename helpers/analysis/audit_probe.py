"""Single optimisation steps for the audit: every stage is built anew, then set back to one saved state.

A step is compared by what it does to the trained parameters. Each change is weighted by the gradient at its place: Adam
turns gradients that are nothing but rounding into steps of full size, and those must not count.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazegaussian.config import RunConfig
from gazegaussian.errors import NonFiniteError, class_and_line
from gazegaussian.training.stage import to_device
from gazegaussian.training.step import autocast, optimisation_step, repeatable
from gazegaussian.training.trainer import Trainer
from gazegaussian.utils.interrupts import raise_if_interrupted
from helpers.analysis.short_training import Build, quiet_package, state_of

TRAINING_ENDS = (NonFiniteError, torch.OutOfMemoryError)  # what a bad value of a parameter may lead to

# Of all parameters' work. A smaller tensor is measured against this share, so that rounding in it stays small.
SMALLEST_SHARE = 1e-3


@dataclass(frozen=True)
class Snapshot:
    """State between two steps, on the CPU."""

    weights: dict[str, Tensor]  # the whole state dict
    moments: dict[str, dict[str, Any]]  # of the optimizer, by parameter
    scaler: dict[str, Any]  # of the gradients


@dataclass(frozen=True)
class Step:
    """What one optimisation step did, on the CPU."""

    updates: dict[str, Tensor]  # parameter after minus before
    gradients: dict[str, Tensor]  # clipped, as the optimizer got them; parameters without one are missing
    buffers: dict[str, Tensor]  # floating buffers after minus before
    terms: dict[str, float]  # of the loss
    failure: str | None = None  # why there was no step

    def thinned(self, stride: int) -> Step:
        """Keep every so many-th element of what the optimizer got and did."""
        updates = {name: value.flatten()[::stride] for name, value in self.updates.items()}
        gradients = {name: value.flatten()[::stride] for name, value in self.gradients.items()}
        return Step(updates, gradients, {}, self.terms, self.failure)

    @property
    def untrained(self) -> dict[str, Tensor]:
        """What a step did to buffers and to parameters without a gradient, such as those of an averaged network."""
        return self.buffers | {name: value for name, value in self.updates.items() if name not in self.gradients}

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of all gradients."""
        return norm(self.gradients.values())


def norm(tensors: Iterable[Tensor]) -> float:
    """Euclidean norm of all elements together."""
    return math.sqrt(math.fsum(float(tensor.double().square().sum()) for tensor in tensors))


class Probe:
    """A stage that takes single steps from a saved state.

    Args:
        build: Makes the stage; the global seed is set before.
        config: With the value under audit.
    """

    def __init__(self, build: Build, config: RunConfig) -> None:
        self.config = config
        torch.manual_seed(config.training.seed)
        with quiet_package():
            self.stage = build(config)
            self.trainer = Trainer(self.stage, config.training, config.optim, Path("unused"))
        self.built = state_of(self.stage)
        self.names = {id(value): name for name, value in self.stage.module.named_parameters()}
        self.trained = {name for name, value in self.stage.module.named_parameters() if value.requires_grad}

    @property
    def parameters(self) -> frozenset[str]:
        """Names of what can be trained."""
        return frozenset(self.names.values()) & self.built.keys()

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every entry of the state dict."""
        return {name: value.shape for name, value in self.built.items()}

    def prepare(self) -> dict[str, Tensor]:
        """Do what comes before the first epoch; returns the weights after it."""
        torch.manual_seed(self.config.training.seed)
        with quiet_package(), repeatable(self.trainer.device):
            self.stage.prepare()
        return state_of(self.stage)

    def count(self, epoch: int) -> int:
        """How many batches an epoch has."""
        torch.manual_seed(self.config.training.seed)
        batches = self.stage.batches(epoch)
        return len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)

    def batches(self, epoch: int, most: int) -> list[Any]:
        """The first batches of an epoch."""
        torch.manual_seed(self.config.training.seed)
        return list(islice(iter(self.stage.batches(epoch)), most))

    def snapshot(self) -> Snapshot:
        """Copy the state."""
        optimizer = self.trainer.optimizer
        moments = {
            self.names[id(parameter)]: {key: _copied(value) for key, value in state.items()}
            for parameter, state in optimizer.state.items()
            if id(parameter) in self.names
        }
        return Snapshot(state_of(self.stage), moments, self.trainer.scaler.state_dict())

    def restore(self, snapshot: Snapshot, base: Mapping[str, Tensor]) -> None:
        """Take over whatever has the same shape.

        Args:
            snapshot: The state.
            base: State dict of the stage that it was taken from as it was built. A buffer that was built differently here
                stays: it may be how the value under audit reaches the model.
        """
        own = self.stage.module.state_dict()
        taken = {}
        for name, value in snapshot.weights.items():
            if name not in own or own[name].shape != value.shape:
                continue
            constant = name not in self.parameters and not torch.equal(self.built[name], base[name])
            taken[name] = self.built[name] if constant else value
        self.stage.module.load_state_dict({**own, **taken})
        optimizer = self.trainer.optimizer
        optimizer.state.clear()
        amsgrad = {id(one) for group in optimizer.param_groups if group.get("amsgrad") for one in group["params"]}
        for parameter in self.trainer.parameters:
            name = self.names.get(id(parameter), "")
            if id(parameter) in amsgrad and "max_exp_avg_sq" not in snapshot.moments.get(name, {}):
                continue  # the run configuration's Adam did not keep what this one needs
            if name in taken and name in snapshot.moments:
                # Adam counts its steps on the parameter's device when it is fused, which it is here.
                moved = {key: _moved(value, parameter) for key, value in snapshot.moments[name].items()}
                optimizer.state[parameter] = moved
        if snapshot.scaler:
            self.trainer.scaler.load_state_dict(snapshot.scaler)

    def step(self, batch: Any, epoch: int) -> Step:
        """Take one step of the trainer's optimizer with the learning rates of an epoch.

        Args:
            batch: Of any stage with the same data.
            epoch: From 0.
        """
        raise_if_interrupted()
        trainer = self.trainer
        scheduler = trainer.scheduler
        for group, base, factor in zip(
            trainer.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(epoch)
        self.stage.module.train()
        torch.manual_seed(self.config.training.seed)
        before = state_of(self.stage)
        moved = to_device(copy.deepcopy(batch), trainer.device)  # losses may write to it

        def compute() -> dict[str, Tensor]:
            with autocast(trainer.device, trainer.dtype):
                return self.stage.losses(moved, epoch)

        try:
            with quiet_package(), repeatable(trainer.device), self._exact_updates() as updates:
                terms = optimisation_step(
                    compute, trainer.parameters, trainer.optimizer, trainer.scaler, trainer.optim.max_grad_norm
                )
        except TRAINING_ENDS as error:
            return Step({}, {}, {}, {}, class_and_line(error))
        after = state_of(self.stage)
        change = {name: after[name].double() - before[name].double() for name in after if _floating(after[name])}
        change.update(updates)
        gradients = {
            self.names[id(parameter)]: parameter.grad.detach().double().cpu()
            for parameter in trainer.parameters
            if parameter.grad is not None and id(parameter) in self.names
        }
        return Step(
            {name: value for name, value in change.items() if name in self.parameters},
            gradients,
            {name: value for name, value in change.items() if name not in self.parameters},
            {name: float(value) for name, value in terms.items()},
        )

    @contextmanager
    def _exact_updates(self) -> Iterator[dict[str, Tensor]]:
        """Collect the updates of a step before they are added to weights, where they would lose digits.

        The optimizer updates zeros in place of the weights. Weight decay needs the weights, so there nothing is collected.
        """
        optimizer = self.trainer.optimizer
        updates: dict[str, Tensor] = {}
        before: dict[str, Tensor] = {}
        named = {name: value for name, value in self.stage.module.named_parameters() if name in self.parameters}

        def hide(*_: Any) -> None:
            for name, value in named.items():
                if value.grad is None:  # not the optimizer's: an average of the weights, say, that `losses` moved
                    continue
                before[name] = value.detach().clone()
                value.detach().zero_()

        def show(*_: Any) -> None:
            for name, start in before.items():
                updates[name] = named[name].detach().double().cpu()
                named[name].detach().add_(start)

        if any(group.get("weight_decay") for group in optimizer.param_groups):
            yield updates
            return
        hooks = [optimizer.register_step_pre_hook(hide), optimizer.register_step_post_hook(show)]
        try:
            yield updates
        finally:
            for hook in hooks:
                hook.remove()


def difference(base: Step, other: Step, scale: Step) -> float:
    """Say how much two steps differ, as a share of what another seed changes in the same step.

    Args:
        base: Step of the run configuration.
        other: The step to compare.
        scale: The run configuration's step on other images: what another seed does.

    Returns:
        The largest share of any parameter, or that of all together. 0 for equal steps.
    """
    work = {}
    usual = {}
    for name in base.updates.keys() & other.updates.keys():
        zero = torch.zeros(())
        weight = torch.maximum(base.gradients.get(name, zero).abs(), other.gradients.get(name, zero).abs())
        work[name] = norm([weight * (other.updates[name] - base.updates[name])])
        usual[name] = norm([weight * (scale.updates[name] - base.updates[name])])
        if usual[name] == 0:  # a stage with one batch only
            usual[name] = norm([weight * base.updates[name]])
    all_work = math.hypot(*work.values())
    all_usual = math.hypot(*usual.values())
    if all_work == 0:
        return 0.0
    if all_usual == 0:
        return math.inf
    shares = [work[name] / max(usual[name], SMALLEST_SHARE * all_usual) for name in work]
    return max(all_work / all_usual, *shares)


def _floating(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def _moved(value: Any, parameter: Tensor) -> Any:
    return value.to(parameter.device, copy=True) if isinstance(value, Tensor) else value

"""A stage of a few numbers that obeys a GazeGaussian run configuration, with one peculiarity planted in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianRun, OptimConfig

CHANCE = torch.Generator().manual_seed(0)  # goes on from one training to the next, as atomic additions on CUDA do
IMAGES = 12
NOISE = 1e-2  # of a loss that cannot be repeated


@dataclass
class Rows:
    """A batch."""

    x: Tensor  # [B, 2]
    y: Tensor  # [B, 1]
    image: Tensor  # [B] of the data set

    def to(self, device: torch.device) -> Rows:
        """Stay: the stage is for the CPU."""
        return self


@dataclass(frozen=True)
class Plant:
    """What is peculiar about a stage; `value` is that of `gaze_loss_importance`.

    Attributes:
        weight: Of the gaze term, of (value, epoch, stage); None: there is no such term.
        term: The gaze term itself, of (predictions, batch); by default it has a gradient.
        color: Factor of the colour term, of (value).
        scale: Factor of the metric, of (value, stage).
        begin: Called when the stage is built, with (value, stage).
        start: Seed of the weights, of (value); None: they are drawn as the audit has seeded them.
        prepare: Called before the first epoch, with (stage).
        batches: Makes the batches, of (value, stage, epoch).
        groups: The eye's learning rate is used.
        noise: Trainings cannot be repeated.
        idle: Whether the branch is never called, of (run configuration).
        also: Metrics beside `val_loss`.
    """

    weight: Callable[[float, int, PlantedStage], float] | None = lambda value, epoch, stage: value
    term: Callable[[Tensor, Rows], Tensor] = lambda predicted, batch: (predicted.abs() - 1).square().mean()
    color: Callable[[float], float] = lambda value: 1.0
    scale: Callable[[float, PlantedStage], float] = lambda value, stage: 1.0
    begin: Callable[[float, PlantedStage], None] = lambda value, stage: None
    start: Callable[[float], int] | None = None
    prepare: Callable[[PlantedStage], None] = lambda stage: None
    batches: Callable[[float, PlantedStage, int], list[Rows]] = lambda value, stage, epoch: stage.usual_batches(epoch)
    groups: bool = False
    noise: bool = False
    idle: Callable[[GazeGaussianRun], bool] = lambda config: False
    also: Mapping[str, float] = field(default_factory=dict)


class PlantedStage:
    """Implements `gazegaussian.training.stage.Stage`; `dit_num_heads` is its width, `dit_depth` a second branch's depth."""

    name = "gazegaussian"
    variant = "default"

    def __init__(self, config: GazeGaussianRun, plant: Plant) -> None:
        self.config = config
        self.plant = plant
        self.value = config.loss.gaze_loss_importance
        self.steps = 0
        self.count = min(config.data.max_val_images or 10, 10)
        if plant.start is not None:
            torch.manual_seed(plant.start(self.value))
        width = config.model.dit_num_heads
        self.first = nn.Linear(2, width)
        self.main = nn.Sequential(self.first, nn.Tanh(), nn.Linear(width, 1))
        self.branch = nn.Sequential(*(nn.Linear(2, 2) for _ in range(config.model.dit_depth)))
        self.offsets = nn.Embedding(IMAGES, 1)
        nn.init.zeros_(self.offsets.weight)
        self.module = nn.ModuleDict({"main": self.main, "branch": self.branch, "offsets": self.offsets})
        plant.begin(self.value, self)

    def architecture(self) -> dict[str, Any]:
        """Sizes; there are none beside the configuration's."""
        return {}

    def parameter_groups(self, optim: OptimConfig) -> list[dict[str, Any]]:
        """One group for the main branch, one for all else."""
        main = list(self.main.parameters())
        rest = [value for name, value in self.module.named_parameters() if not name.startswith("main")]
        factor = optim.eye_lr_mult if self.plant.groups else 1.0
        groups = [{"name": "main", "params": main, "lr": optim.lr}]
        return [*groups, {"name": "rest", "params": rest, "lr": optim.lr * factor}]

    def prepare(self) -> None:
        """Whatever is planted."""
        self.plant.prepare(self)

    def batches(self, epoch: int) -> list[Rows]:
        """Batches of an epoch."""
        return self.plant.batches(self.value, self, epoch)

    def usual_batches(self, epoch: int) -> list[Rows]:
        """Other numbers in every epoch."""
        x = torch.randn(IMAGES, 2, generator=torch.Generator().manual_seed(epoch))
        every = Rows(x, x.sum(-1, keepdim=True), (torch.arange(IMAGES) + epoch) % IMAGES)
        return self.split(every, torch.arange(IMAGES))

    def split(self, every: Rows, order: Tensor) -> list[Rows]:
        """Cut images into batches, in an order."""
        parts = order.split(self.config.training.batch_size)
        return [Rows(every.x[part], every.y[part], every.image[part]) for part in parts]

    def losses(self, batch: Rows, epoch: int) -> dict[str, Tensor]:
        """Terms of the loss, the gaze term as planted."""
        self.steps += 1
        weights = self.config.loss
        offsets = self.offsets(batch.image)
        predicted = self._predict(batch.x) + offsets
        terms = {"color": self.plant.color(self.value) * (predicted - batch.y).square().mean()}
        if self.plant.noise:
            terms["color"] = (
                terms["color"] + NOISE * (predicted * torch.randn(predicted.shape, generator=CHANCE)).mean()
            )
        if self.plant.weight is not None:
            terms["gaze"] = self.plant.weight(self.value, epoch, self) * self.plant.term(predicted, batch)
        if epoch >= weights.perceptual_start_epoch:
            terms["vgg"] = weights.vgg_importance * (predicted - batch.y).abs().mean()
        terms["identity_offset"] = weights.identity_offset_importance * offsets.square().mean()
        return terms

    def validate(self) -> dict[str, float]:
        """Measure the loss of fixed numbers, scaled as planted."""
        x = torch.linspace(-1, 1, 20).reshape(10, 2)
        loss = (self._predict(x) - x.sum(-1, keepdim=True)).square().mean().item()
        return {"val_loss": loss * self.plant.scale(self.value, self), **self.plant.also}

    def preview(self) -> Tensor | None:
        """There is nothing to see."""
        return None

    def to(self, device: torch.device) -> None:
        """Move the module."""
        self.module.to(device)

    def _predict(self, x: Tensor) -> Tensor:
        extra = 0 if self.plant.idle(self.config) else self.branch(x).sum(-1, keepdim=True)
        predicted: Tensor = self.main(x) + extra
        return predicted

"""A model of your own under the studies of this repository: a small network that reads handwritten digits.

Four parts: what a run is (configuration), the model, the stage that the trainer drives, and its registration. Copy the file,
put your model, data, losses and metrics in, and keep the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gazegaussian.config import StageOptim, StageRun, StageTraining
from gazegaussian.fields import Section
from gazegaussian.stages import StageSpec, register

HERE = Path(__file__).resolve().parent
VALIDATION_SHARE = 5  # every fifth digit is held out


# 1. What a run is. Every field of model, loss, optim and training may be searched by its bare name.
class DigitsModel(Section):
    """Sizes of the network."""

    width: int = Field(32, gt=0, description="channels of the hidden layers")
    depth: int = Field(2, gt=0, le=6, description="hidden layers")
    dropout: float = Field(0.1, ge=0, lt=1)


class DigitsLoss(Section):
    """The training loss; validation uses none of it."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)


class DigitsRun(StageRun):
    """A run."""

    stage: Literal["digits"] = "digits"
    model: DigitsModel = DigitsModel()
    loss: DigitsLoss = DigitsLoss()
    optim: StageOptim = StageOptim(lr=3e-3)
    training: StageTraining = StageTraining(epochs=6, batch_size=64)


# 2. The model and a batch: the trainer needs `.to(device)` of a batch, nothing else.
@dataclass(frozen=True)
class Batch:
    """Some digits."""

    images: Tensor  # [B, 64] in [0, 1], 8 x 8 pixels
    labels: Tensor  # [B] 0 to 9

    def to(self, device: torch.device) -> Batch:
        """Move it."""
        return Batch(self.images.to(device), self.labels.to(device))


def network(model: DigitsModel) -> nn.Sequential:
    """Build the network: [B, 64] -> [B, 10]."""
    layers: list[nn.Module] = []
    width = 64
    for _ in range(model.depth):
        layers += [nn.Linear(width, model.width), nn.ReLU(), nn.Dropout(model.dropout)]
        width = model.width
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Epoch:
    """Batches of one epoch: sized, and a function of (seed, epoch), so that a resumed training sees the same."""

    def __init__(self, data: Batch, size: int, order: Tensor) -> None:
        self.data = data
        self.rows = order.split(size)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        return (Batch(self.data.images[rows], self.data.labels[rows]) for rows in self.rows)


# 3. The stage: what the trainer asks (gazegaussian/training/stage.py says what each method must do).
class DigitsStage:
    """Model, data, losses and validation metrics."""

    name = "digits"
    variant = "small"

    def __init__(self, config: DigitsRun) -> None:
        self.config = config
        self.module = network(config.model)
        self.train, self.validation = load_data(config)
        self.device = torch.device("cpu")

    def architecture(self) -> dict[str, Any]:
        """Sizes that the configuration does not tell."""
        return {}

    def parameter_groups(self, optim: StageOptim) -> list[dict[str, Any]]:
        """All weights at one learning rate."""
        return [{"name": "network", "params": list(self.module.parameters()), "lr": optim.lr}]

    def prepare(self) -> None:
        """No warm start."""

    def batches(self, epoch: int) -> Epoch:
        """Training digits in the order of (seed, epoch)."""
        generator = torch.Generator().manual_seed(1000 * self.config.training.seed + epoch)
        order = torch.randperm(len(self.train.labels), generator=generator)[: self.config.data.max_train_images]
        return Epoch(self.train, self.config.training.batch_size, order)

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Weighted terms; the trainer minimises their sum."""
        smoothing = self.config.loss.label_smoothing
        return {
            "label": nn.functional.cross_entropy(self.module(batch.images), batch.labels, label_smoothing=smoothing)
        }

    def validate(self) -> dict[str, float]:
        """Measure held-out digits. No searched loss weight enters: the audit would reject it."""
        data = self.validation.to(self.device)
        logits = self.module(data.images)
        right = (logits.argmax(1) == data.labels).float().mean()
        return {"val_loss": nn.functional.cross_entropy(logits, data.labels).item(), "accuracy": right.item()}

    def preview(self) -> Tensor | None:
        """The first held-out digits in a row, those that are misread in red. [3, 64, 64 * N]"""
        count = self.config.training.preview_images
        if count == 0:
            return None
        data = self.validation.to(self.device)
        with torch.no_grad():
            wrong = self.module(data.images[:count]).argmax(1) != data.labels[:count]
        pictures = data.images[:count].view(-1, 1, 8, 8).expand(-1, 3, -1, -1).clone()
        pictures[wrong, 1:] *= 0.3
        return torch.cat(list(pictures.repeat_interleave(8, 2).repeat_interleave(8, 3)), dim=2)

    def to(self, device: torch.device) -> None:
        """Move the model."""
        self.device = device
        self.module.to(device)


def load_data(config: DigitsRun) -> tuple[Batch, Batch]:
    """Training and validation digits; they come with scikit-learn."""
    digits = load_digits()
    images = torch.from_numpy(digits.data.astype(np.float32) / 16)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    held_out = torch.arange(len(labels)) % VALIDATION_SHARE == 0
    rows = held_out.nonzero().flatten()[: config.data.max_val_images]
    return Batch(images[~held_out], labels[~held_out]), Batch(images[rows], labels[rows])


# 4. The registration; `check` and `pictures` may be left out.
STAGE = register(
    StageSpec(
        name="digits",
        config=DigitsRun,
        build=DigitsStage,
        studies=HERE / "studies",
        metrics=("accuracy",),
        pictures="held-out digits, those that are misread in red",
    )
)

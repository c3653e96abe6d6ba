"""Shared by tests: trainer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gazegaussian.config import OptimConfig, TrainingConfig
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import Trainer


@dataclass
class Points:
    x: torch.Tensor
    y: torch.Tensor

    def to(self, device):
        return self


class LineStage:
    """Fits a line; dropout makes the random state matter."""

    name = "line"
    variant = "default"

    def __init__(self, seed=0, bad_at=None, validation=None):
        torch.manual_seed(seed)
        self.module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
        self.bad_at = bad_at
        self.calls = 0
        self.prepared = 0
        self.validation = validation

    def architecture(self):
        return {"inputs": 2}

    def parameter_groups(self, optim):
        return [{"name": "all", "params": list(self.module.parameters()), "lr": optim.lr}]

    def prepare(self):
        self.prepared += 1

    def batches(self, epoch):
        g = torch.Generator().manual_seed(epoch)
        x = torch.randn(4, 16, 2, generator=g)
        return [Points(row, row.sum(-1, keepdim=True)) for row in x]

    def losses(self, batch, epoch):
        self.calls += 1
        loss = (self.module(batch.x) - batch.y).square().mean()
        return {"mse": loss * float("nan") if self.calls == self.bad_at else loss}

    def validate(self):
        if self.validation is not None:
            return {"val_loss": self.validation.pop(0)}
        x = torch.linspace(-1, 1, 20).reshape(10, 2)
        return {"val_loss": (self.module(x) - x.sum(-1, keepdim=True)).square().mean().item()}

    def preview(self):
        return torch.zeros(3, 4, 4)

    def to(self, device):
        pass


def trainer(run_dir, stage=None, hooks=(), **training):
    config = TrainingConfig(**{"epochs": 6, "device": "cpu", **training})
    return Trainer(stage or LineStage(), config, OptimConfig(lr=0.01, lr_decay=0.5), run_dir, hooks)


class StopAfter(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, epoch, metrics):
        if epoch == self.epoch:
            raise KeyboardInterrupt

"""A stage of a few numbers that obeys a GazeGaussian run configuration, with faults that can be planted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gazegaussian.errors import NonFiniteError

CHANCE = torch.Generator().manual_seed(0)  # goes on from one training to the next


@dataclass
class Rows:
    x: torch.Tensor
    y: torch.Tensor
    image: torch.Tensor

    def to(self, device):
        return self


class TinyStage:
    """Width is `dit_num_heads`, depth of a second branch `dit_depth`; `faults` names what is wrong with it."""

    name = "gazegaussian"
    variant = "default"
    images = 12

    def __init__(self, config, faults=()):
        self.config = config
        self.faults = faults
        width = config.model.dit_num_heads
        self.module = torch.nn.ModuleDict(
            {
                "main": torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)),
                "branch": torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(config.model.dit_depth))),
                "offsets": torch.nn.Embedding(self.images, 1),
            }
        )
        torch.nn.init.zeros_(self.module["offsets"].weight)

    def architecture(self):
        return {}

    def parameter_groups(self, optim):
        return [{"name": "all", "params": list(self.module.parameters()), "lr": optim.lr}]

    def prepare(self):
        pass

    def batches(self, epoch):
        size = self.config.training.batch_size
        count = self.config.data.max_train_images or self.images
        g = torch.Generator().manual_seed(epoch)
        x = torch.randn(self.images, 2, generator=g)
        rows = [torch.arange(i, min(i + size, count)) for i in range(0, count, size)]
        shift = epoch * count  # every epoch draws other images
        return [Rows(x[r], x[r].sum(-1, keepdim=True), (r + shift) % self.images) for r in rows]

    def _predict(self, x):
        idle = "idle branch" in self.faults
        idle |= "branch of dit" in self.faults and self.config.model.renderer != "dit"
        extra = 0 if idle else self.module["branch"](x).sum(-1, keepdim=True)
        return self.module["main"](x) + extra

    def losses(self, batch, epoch):
        weights = self.config.loss
        offsets = self.module["offsets"](batch.image)
        if "diverges" in self.faults and self.config.optim.lr > 1e-2:
            raise NonFiniteError("bad loss")
        predicted = self._predict(batch.x) + offsets
        terms = {"color": (predicted - batch.y).square().mean()}
        if "noise" in self.faults:  # as of atomic additions
            jitter = torch.randn(predicted.shape, generator=CHANCE)
            terms["color"] = terms["color"] + 1e-4 * (predicted * jitter).mean()
        gaze = (predicted.abs() - 1).square().mean()
        if "labels only" in self.faults:
            gaze = batch.y.square().mean()
        if "unread" not in self.faults:
            terms["gaze"] = weights.gaze_loss_importance * gaze
        if epoch >= weights.perceptual_start_epoch:
            terms["vgg"] = weights.vgg_importance * (predicted - batch.y).abs().mean()
        terms["identity_offset"] = weights.identity_offset_importance * offsets.square().mean()
        return terms

    def validate(self):
        x = torch.linspace(-1, 1, 20).reshape(10, 2)
        loss = (self._predict(x) - x.sum(-1, keepdim=True)).square().mean().item()
        scale = 1.0
        if "weighted validation metric" in self.faults:
            scale += self.config.loss.gaze_loss_importance
        return {"val_loss": loss * scale, "other": loss}

    def preview(self):
        return None

    def to(self, device):
        self.module.to(device)


class Builder:
    """Builds stages and counts them."""

    def __init__(self, *faults):
        self.faults = faults
        self.count = 0

    def __call__(self, config):
        self.count += 1
        return TinyStage(config, self.faults)

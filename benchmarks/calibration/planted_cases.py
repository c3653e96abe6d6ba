"""Parameters of which it is known what the audit has to say: good ones, and faults of every kind that was thought of."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.calibration.planted_stage import CHANCE, IMAGES, Plant, PlantedStage, Rows

Truth = Literal["good", "unread", "luck", "bends"]
Space = dict[str, Any]
GAZE = "gaze_loss_importance"
FLOAT: Space = {"type": "float", "min": 0.05, "max": 0.5, "log": True}
WIDE: Space = {"type": "float", "min": 1e-3, "max": 1.0, "log": True}
LR: Space = {"type": "float", "min": 1e-4, "max": 1e-1, "log": True}
SHARE: Space = {"type": "float", "min": 0.1, "max": 1.0}
FACTOR: Space = {"type": "float", "min": 0.5, "max": 2.0}
SIZES: Space = {"type": "categorical", "choices": [2, 3, 4]}
HEADS: Space = {"type": "categorical", "choices": [4, 8, 16]}
DEPTH: Space = {"type": "int", "min": 1, "max": 6}
KINDS: Space = {"type": "categorical", "choices": ["dit", "conv"]}
WIDTHS: Space = {"type": "categorical", "choices": [16, 32]}
STEPS: Space = {"type": "int", "min": 10, "max": 300}


@dataclass(frozen=True)
class Case:
    """One parameter of one study.

    Attributes:
        what: Is planted.
        truth: What the audit has to say; all but good must be rejected.
        word: The verdict, where a good parameter's is not "ok".
        others: Searched beside it.
        config: Of the run, by section.
    """

    what: str
    truth: Truth
    plant: Plant = field(default_factory=Plant)
    name: str = GAZE
    space: Space = field(default_factory=lambda: FLOAT)
    word: str = "ok"
    others: dict[str, Space] = field(default_factory=dict)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)


def _multiply_start(value: float, stage: PlantedStage) -> None:
    with torch.no_grad():
        stage.first.weight.mul_(1 + value)


def _shrink(stage: PlantedStage) -> None:
    with torch.no_grad():
        stage.first.weight.mul_(0.999**stage.config.training.warm_start_steps)


def _value_in_a_buffer(value: float, stage: PlantedStage) -> None:
    stage.main.register_buffer("value", torch.tensor(value))


def _average(value: float, stage: PlantedStage) -> None:
    stage.main.register_buffer("average", torch.zeros(2))


def _average_moves(value: float, epoch: int, stage: PlantedStage) -> float:
    stage.main.get_buffer("average").lerp_(stage.first.weight.detach()[0], value)
    return 0.1


def _idle_network(value: float, stage: PlantedStage) -> None:
    stage.module["idle"] = nn.Linear(2, stage.config.model.dit_head_dim)


def _zero_network(value: float, epoch: int, stage: PlantedStage) -> Any:
    return 0.1 + 0.0 * stage.module["idle"](torch.ones(1, 2)).mean()


def _shuffled(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    x = torch.linspace(-2, 2, 2 * IMAGES).reshape(IMAGES, 2)
    generator = torch.Generator().manual_seed(epoch + int(1000 * value))
    every = Rows(x, x.sum(-1, keepdim=True), torch.arange(IMAGES))
    return stage.split(every, torch.randperm(IMAGES, generator=generator))


def _other_numbers(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    return stage.usual_batches(epoch + int(1000 * value))


def _noisy_images(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    generator = torch.Generator().manual_seed(epoch)
    rows = stage.usual_batches(epoch)
    return [Rows(row.x + value * torch.randn(row.x.shape, generator=generator), row.y, row.image) for row in rows]


def _mirrored(rows: list[Rows], generator: torch.Generator) -> list[Rows]:
    signs = [1.0 - 2.0 * torch.randint(2, row.y.shape, generator=generator) for row in rows]
    return [Rows(sign * row.x, sign * row.y, row.image) for sign, row in zip(signs, rows, strict=True)]


def _same_images(stage: PlantedStage) -> list[Rows]:
    x = torch.linspace(-2, 3, 2 * IMAGES).reshape(IMAGES, 2)
    return stage.split(Rows(x, x.sum(-1, keepdim=True), torch.arange(IMAGES)), torch.arange(IMAGES))


def _flips_or_none(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    rows = _same_images(stage)
    return _mirrored(rows, torch.Generator().manual_seed(epoch)) if value > 0.2 else rows


def _seed_of_flips(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    return _mirrored(_same_images(stage), torch.Generator().manual_seed(epoch + int(1000 * value)))


def _flips_until(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    rows = _same_images(stage)
    return _mirrored(rows, torch.Generator().manual_seed(epoch)) if epoch < 20 * value else rows


def _fewer_batches(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    rows = stage.usual_batches(epoch)
    return rows[: max(2, round(2 * value * len(rows)))]


def _copy(value: float, stage: PlantedStage) -> None:
    stage.module["copy"] = copy.deepcopy(stage.main).requires_grad_(False)


def _copy_follows(value: float, epoch: int, stage: PlantedStage) -> float:
    _follow(stage, value)
    return 0.1


def _copy_from_epoch(value: float, epoch: int, stage: PlantedStage) -> float:
    if epoch >= 20 * value:
        _follow(stage, 0.5)
    return 0.1


def _follow(stage: PlantedStage, share: float) -> None:
    with torch.no_grad():
        for average, weight in zip(stage.module["copy"].parameters(), stage.main.parameters(), strict=True):
            average.lerp_(weight, share)


def _copy_in_metric(value: float, stage: PlantedStage) -> float:
    return 1 + sum(weight.square().sum().item() for weight in stage.module["copy"].parameters())


def _frozen_network(value: float, stage: PlantedStage) -> None:
    stage.module["idle"] = nn.Linear(2, stage.config.model.dit_head_dim).requires_grad_(False)


def _frozen_in_loss(value: float, epoch: int, stage: PlantedStage) -> Any:
    return 0.1 * stage.module["idle"](torch.ones(1, 2)).square().sum()


def _random_metric(value: float, stage: PlantedStage) -> float:
    return 1 + 0.01 * torch.rand((), generator=CHANCE).item()


def _share_of_metric(value: float, stage: PlantedStage) -> float:
    other = stage.config.loss.vgg_importance
    return (2 * value + other) / (value + other)


def _named_order(value: float, stage: PlantedStage, epoch: int) -> list[Rows]:
    return _shuffled(0.1 if stage.config.model.renderer == "dit" else 0.2, stage, epoch)


def _refuses(value: float, stage: PlantedStage) -> None:
    if value > 0.4:
        raise ValueError("no more than 0.4")


def _written_to(predicted: Tensor, batch: Rows) -> Tensor:
    batch.x.data.mul_(0.9)  # autograd forbids writing to x itself
    return predicted.abs().mean()


def _seed_of(value: float) -> int:
    return int(1000 * value)


NO_TERM = Plant(weight=None)
GOOD = [
    Case("loss weight", "good"),
    Case("learning rate", "good", name="lr", space=LR),
    Case("decay of the learning rate", "good", name="lr_decay", space=SHARE),
    Case("learning rate of a group", "good", Plant(groups=True), "eye_lr_mult", FACTOR),
    Case("clipping", "good", name="max_grad_norm", space=WIDE),
    Case("batch size", "good", name="batch_size", space=SIZES),
    Case("width", "good", name="dit_num_heads", space=HEADS),
    Case("depth", "good", name="dit_depth", space=DEPTH),
    Case("start of a term", "good", name="perceptual_start_epoch", space={"type": "int", "min": 2, "max": 9}),
    Case("term that starts late", "good", name="vgg_importance"),
    Case("penalty of what starts at zero", "good", name="identity_offset_importance", space=WIDE, word="weak"),
    Case("patience", "good", name="patience", space={"type": "int", "min": 2, "max": 5}, word="not asked"),
    Case("least improvement", "good", name="min_delta", space={"type": "float", "min": 0.0, "max": 0.1}, word="not asked",
         config={"training": {"patience": 3}}),
    Case("decay within one epoch", "good", name="lr_decay", space=SHARE, word="not asked",
         config={"training": {"epochs": 1}}),
    Case("start after the last epoch", "good", name="perceptual_start_epoch", space={"type": "int", "min": 4, "max": 9},
         word="not asked", config={"training": {"epochs": 3}}),
    Case("from epoch 3 on", "good", Plant(weight=lambda v, epoch, s: v if epoch >= 3 else 0.1)),
    Case("in the first two epochs", "good", Plant(weight=lambda v, epoch, s: v if epoch < 2 else 0.1)),
    Case("in the sixth epoch", "good", Plant(weight=lambda v, epoch, s: v if epoch == 5 else 0.1)),
    Case("after seven steps of its own count", "good", Plant(weight=lambda v, epoch, s: v if s.steps > 7 else 0.1)),
    Case("below 0.08", "good", Plant(weight=lambda v, epoch, s: min(v, 0.08)), word="weak"),
    Case("above 0.3", "good", Plant(weight=lambda v, epoch, s: max(v, 0.3)), config={"loss": {GAZE: 0.07}}),
    Case("between 0.15 and 0.3", "good", Plant(weight=lambda v, epoch, s: v if 0.15 < v < 0.3 else 0.1)),
    Case("constant buffer", "good", Plant(weight=lambda v, e, s: float(s.main.get_buffer("value")), begin=_value_in_a_buffer)),
    Case("average of the weights", "good",
         Plant(weight=_average_moves, begin=_average, scale=lambda v, s: 1 + s.main.get_buffer("average").square().sum().item())),
    Case("size of the start", "good", Plant(weight=None, begin=_multiply_start)),
    Case("steps before training", "good", Plant(prepare=_shrink), "warm_start_steps", STEPS),
    Case("noise on the images", "good", Plant(weight=None, batches=_noisy_images)),
    Case("flips or none", "good", Plant(weight=None, batches=_flips_or_none)),
    Case("flips until an epoch", "good", Plant(weight=None, batches=_flips_until), config={"loss": {GAZE: 0.05}}),
    Case("batches of an epoch", "good", Plant(weight=None, batches=_fewer_batches)),
    Case("averaged copy", "good", Plant(weight=_copy_follows, begin=_copy, scale=_copy_in_metric)),
    Case("first epoch of an averaged copy", "good", Plant(weight=_copy_from_epoch, begin=_copy, scale=_copy_in_metric)),
    Case("size of a frozen network in the loss", "good", Plant(begin=_frozen_network, weight=_frozen_in_loss), "dit_head_dim",
         WIDTHS),
    Case("weak", "good", Plant(weight=lambda v, epoch, s: 1e-2 * v), word="weak"),
    Case("weak beside chance", "good", Plant(weight=lambda v, e, s: 3e-2 * v, noise=True), word="weak"),
    Case("beside chance", "good", Plant(noise=True)),
    Case("random metric", "good", Plant(scale=_random_metric)),
    Case("under its condition", "good", Plant(idle=lambda c: c.model.renderer != "dit"), "dit_depth",
         {**DEPTH, "when": {"renderer": "dit"}}, others={"renderer": KINDS}, config={"model": {"renderer": "conv"}}),
    Case("kind", "good", Plant(weight=lambda v, e, s: 0.5 if s.config.model.renderer == "dit" else 0.1), "renderer", KINDS),
    Case("beside another's value, which is off by itself", "good",
         Plant(weight=lambda v, e, s: v * s.config.loss.features_region_importance),
         others={"features_region_importance": {"type": "float", "min": 0.0, "max": 1.0}}),
    Case("named order of the images", "good", Plant(weight=None, batches=_named_order), "renderer", KINDS, word="not asked"),
    Case("values that the stage refuses", "good", Plant(begin=_refuses)),
    Case("beside a metric that is NaN", "good", Plant(scale=lambda v, s: math.nan), word="not asked"),
    Case("all images in one batch", "good", config={"training": {"batch_size": 12}}),
]  # fmt: skip
UNREAD = [
    Case("no such term", "unread", NO_TERM),
    Case("term of the labels", "unread", Plant(term=lambda predicted, batch: batch.y.square().mean())),
    Case("term without gradient", "unread", Plant(term=lambda predicted, batch: predicted.detach().square().mean())),
    Case("rounding of the loss", "unread", Plant(weight=None, color=lambda v: 1 + 1e-6 * v)),
    Case("rounding, wide range", "unread", Plant(weight=None, color=lambda v: 1 + 1e-6 * v),
         space={"type": "float", "min": 0.1, "max": 10.0}),
    Case("unread loss weight", "unread", name="ssim_importance", space=WIDE),
    Case("unread size", "unread", name="dit_patch_size", space={"type": "categorical", "choices": [4, 8]}),
    Case("unread steps", "unread", name="warm_start_steps", space=STEPS),
    Case("unread learning rate", "unread", name="eye_lr_mult", space=FACTOR),
    Case("network that is never called", "unread", Plant(begin=_idle_network), "dit_head_dim", WIDTHS),
    Case("network times zero", "unread", Plant(begin=_idle_network, weight=_zero_network), "dit_head_dim", WIDTHS),
    Case("branch that is never called", "unread", Plant(idle=lambda c: True), "dit_depth", DEPTH),
    Case("condition that nobody wrote down", "unread", Plant(idle=lambda c: c.model.renderer != "dit"), "dit_depth", DEPTH,
         config={"model": {"renderer": "conv"}}),
    Case("constant buffer that is unread", "unread", Plant(weight=None, begin=_value_in_a_buffer)),
    Case("average that is unread", "unread", Plant(weight=_average_moves, begin=_average)),
    Case("average that is unread, beside a metric that is NaN", "unread",
         Plant(weight=_average_moves, begin=_average, also={"eye_error": math.nan})),
    Case("averaged copy that is unread", "unread", Plant(weight=_copy_follows, begin=_copy)),
    Case("size of a frozen network that is unread", "unread", Plant(begin=_frozen_network, weight=None), "dit_head_dim", WIDTHS),
    Case("unread beside chance", "unread", Plant(weight=None, noise=True)),
    Case("unread beside a batch that the loss writes to", "unread", Plant(weight=lambda v, e, s: 0.1, term=_written_to)),
    Case("in the metric alone", "unread", Plant(weight=None, scale=lambda v, s: 1 + v)),
    Case("least improvement beside an unread weight", "unread", NO_TERM,
         others={"min_delta": {"type": "float", "min": 0.0, "max": 0.1}}),
]  # fmt: skip
LUCK = [
    Case("seed of the start", "luck", Plant(weight=None, start=_seed_of)),
    Case("order of the images", "luck", Plant(weight=None, batches=_shuffled)),
    Case("seed of the images", "luck", Plant(weight=None, batches=_other_numbers)),
    Case("seed of flips", "luck", Plant(weight=None, batches=_seed_of_flips)),
    Case("seed of start and order", "luck", Plant(weight=None, start=_seed_of, batches=_shuffled)),
]
BENDS = [
    Case("weight of the metric", "bends", Plant(scale=lambda v, s: 1 + v)),
    Case("small weight of the metric", "bends", Plant(scale=lambda v, s: 1 + 1e-3 * v)),
    Case("weight of a metric of small size", "bends", Plant(scale=lambda v, s: 1e-8 * (1 + v))),
    Case("weight of the metric beside chance", "bends", Plant(scale=lambda v, s: 1 + v, noise=True)),
    Case("weight of a random metric", "bends", Plant(scale=lambda v, s: v + _random_metric(v, s))),
    Case("metric between 0.15 and 0.3", "bends", Plant(scale=lambda v, s: 1.1 if 0.15 < v < 0.3 else 1.0)),
    Case("metric below 0.08", "bends", Plant(scale=lambda v, s: 1.1 if v < 0.08 else 1.0)),
    Case("share of the metric", "bends", Plant(scale=_share_of_metric), others={"vgg_importance": FLOAT}),
    Case("images left over by batches", "bends",
         Plant(scale=lambda v, s: 1 + 0.01 * (s.count % s.config.training.batch_size)), "batch_size", SIZES),
    Case("depth in the metric", "bends", Plant(scale=lambda v, s: 1 + s.config.model.dit_depth), "dit_depth", DEPTH),
    Case("third choice in the metric", "bends",
         Plant(scale=lambda v, s: 1.1 if s.config.model.dit_num_heads == 16 else 1.0), "dit_num_heads", HEADS),
    Case("kind in the metric", "bends",
         Plant(weight=lambda v, e, s: 0.5 if s.config.model.renderer == "dit" else 0.1,
               scale=lambda v, s: 1.1 if s.config.model.renderer == "conv" else 1.0), "renderer", KINDS),
    Case("learning rate in the metric", "bends", Plant(scale=lambda v, s: 1 + s.config.optim.lr), "lr", LR),
    Case("patience in the metric", "bends", Plant(scale=lambda v, s: 1 + 0.1 * (s.config.training.patience or 0)),
         "patience", {"type": "int", "min": 2, "max": 5}),
    Case("metric beside another's value", "bends",
         Plant(scale=lambda v, s: 1.1 if v > 0.3 and s.config.loss.vgg_importance > 0.3 else 1.0),
         others={"vgg_importance": FLOAT}),
]  # fmt: skip
CASES = [*GOOD, *UNREAD, *LUCK, *BENDS]

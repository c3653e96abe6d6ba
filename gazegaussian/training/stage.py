"""What the trainer needs to know of a model: the stage protocol.

MeshHead and GazeGaussian implement it (`gazegaussian.build`); any other model that does, and is registered
(`gazegaussian.stages`), can be trained, and tuned, by the same machinery.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gazegaussian.data import HeadDataset
from gazegaussian.errors import ConfigError


def to_device(batch: Any, device: torch.device) -> Any:
    """Move a batch: whatever has `.to(device)`, and tuples, lists and dicts of it.

    Raises:
        ConfigError: It is something else.
    """
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(part, device) for part in batch)
    if isinstance(batch, dict):
        return {name: to_device(part, device) for name, part in batch.items()}
    raise ConfigError(
        f"batches(): expected tensors, or tuples, lists or dicts of them, got {type(batch).__name__}. Give what is no tensor "
        "a method `to(device)`."
    )


def require_parts(stage: object, name: str) -> None:
    """Look whether a stage has what the trainer will ask for.

    Raises:
        ConfigError: Something is missing; all of it is named.
    """
    asked = {*Stage.__annotations__, *(part for part in vars(Stage) if not part.startswith("_"))}
    missing = sorted(part for part in asked if not hasattr(stage, part))
    if missing:
        raise ConfigError(
            f"Stage {name!r}: {type(stage).__name__} lacks {', '.join(missing)}. gazegaussian/training/stage.py says what each does."
        )


class Stage(Protocol):
    """A model with its data, losses and validation metric."""

    name: str
    variant: str

    @property
    def module(self) -> nn.Module:
        """Everything that is trained and saved."""
        ...

    def architecture(self) -> dict[str, Any]:
        """Return sizes that the run configuration alone does not tell, as plain values."""
        ...

    def parameter_groups(self, optim: Any) -> list[dict[str, Any]]:
        """Return optimizer groups `{name, params, lr}` that hold every trainable parameter once.

        Args:
            optim: The section `optim` of the run configuration (`gazegaussian.config.StageOptim` or the stage's own).
        """
        ...

    def prepare(self) -> None:
        """Run once before the first epoch of a fresh run (warm start); skipped on resume."""
        ...

    def batches(self, epoch: int) -> Iterable[Any]:
        """Return the batches of an epoch (see `to_device`), the same whenever (seed, epoch) is the same."""
        ...

    def losses(self, batch: Any, epoch: int) -> dict[str, Tensor]:
        """Return the weighted loss terms of one batch."""
        ...

    def validate(self) -> dict[str, float]:
        """Measure the validation metric on held-out data; holds `val_loss`. No searched weight enters."""
        ...

    def preview(self) -> Tensor | None:
        """Return a grid of validation images [3, H, W] in [0, 1], or None."""
        ...

    def to(self, device: torch.device) -> None:
        """Move the module and whatever it needs."""
        ...


class HeadStage(Stage, Protocol):
    """A stage whose held-out people can be replaced, as the measurement of test people does."""

    def hold_out(self, people: HeadDataset, images: int | None) -> Any:
        """Measure so many images (None: all) of these people from now on."""
        ...

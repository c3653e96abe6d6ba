"""One image with its labels, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from gazegaussian.types import Batch, Cameras, HeadParameters


class Sample(TypedDict):
    """One image with its labels; shapes as in `types.Batch` without the batch dimension."""

    image: Tensor
    head_mask: Tensor
    left_eye_mask: Tensor
    right_eye_mask: Tensor
    landmarks_2d: Tensor
    landmarks_3d: Tensor
    shape_code: Tensor
    pose: Tensor
    scale: Tensor
    gaze: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    index: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size into a batch."""
    return to_batch(stack(samples))


def stack(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack samples key by key (plain tensors: what a loader can pin and send between processes)."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}  # type: ignore[literal-required]


def to_batch(columns: dict[str, Tensor]) -> Batch:
    """Sort stacked columns into the batch's containers."""
    height, width = columns["image"].shape[-2:]
    direct = ("image", "head_mask", "left_eye_mask", "right_eye_mask", "landmarks_2d", "landmarks_3d", "index")
    return Batch(
        **{name: columns[name] for name in direct},  # type: ignore[arg-type]
        parameters=HeadParameters(
            shape_code=columns["shape_code"], pose=columns["pose"], scale=columns["scale"], gaze=columns["gaze"]
        ),
        cameras=Cameras(
            rotation=columns["rotation"],
            translation=columns["translation"],
            intrinsics=columns["intrinsics"],
            width=int(width),
            height=int(height),
        ),
    )

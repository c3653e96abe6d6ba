"""Metrics and the validation metric: what validation measures, with weights that no study can reach.

The judge is passed in; it is a network that no loss uses. Every value is per image, so that means over data sets of any
batching agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from gazegaussian.geometry.gaze import angular_error
from gazegaussian.types import Batch

VALIDATION_WEIGHTS = {"l1": 1.0, "ssim": 0.1, "perceptual": 0.1, "gaze": 0.1}  # design: fixed, never searched


class Judge(Protocol):
    """What the metrics need of the judge network."""

    def perceptual(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance per image. [B]."""
        ...

    def gaze(self, image: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Pitch and yaw of the gaze, rad. [B, 2]."""
        ...

    def head_pose(self, image: Tensor) -> Tensor:
        """Pitch and yaw of the head, rad. [B, 2]."""
        ...


def validation_parts(render: Tensor, batch: Batch, judge: Judge) -> dict[str, Tensor]:
    """Measure renders against held-out images.

    Gaze and head pose errors compare the judge's readings of render and target, as the paper does; `gaze_label_error_deg`
    compares the reading of the render with the label.

    Args:
        render: In [0, 1]. [B, 3, H, W]
        batch: Targets.
        judge: Frozen network that no loss uses.

    Returns:
        l1, ssim, psnr (dB), perceptual, gaze_error_deg, head_pose_error_deg, gaze_label_error_deg. Each [B]
    """
    render = render.clamp(0, 1)
    target = batch.image
    mask = batch.head_mask
    masked = render * mask + 1 - mask
    similarity = structural_similarity_index_measure(masked, target, data_range=1.0, reduction="none")
    noise = peak_signal_noise_ratio(masked, target, data_range=1.0, reduction="none", dim=(1, 2, 3))
    read = judge.gaze(render, batch.landmarks_2d)
    wanted = judge.gaze(target, batch.landmarks_2d)
    head = angular_error(judge.head_pose(render), judge.head_pose(target))
    assert isinstance(similarity, Tensor)
    return {
        "l1": (masked - target).abs().mean((1, 2, 3)),
        "ssim": similarity,
        "psnr": noise,
        "perceptual": judge.perceptual(render, target),
        "gaze_error_deg": angular_error(read, wanted).rad2deg(),
        "head_pose_error_deg": head.rad2deg(),
        "gaze_label_error_deg": angular_error(read, batch.parameters.gaze).rad2deg(),
    }


def validation_loss(parts: dict[str, Tensor]) -> Tensor:
    """L1(head) + 0.1 (1 - SSIM) + 0.1 perceptual + 0.1 gaze angular error in radians. [B]."""
    return image_loss(parts) + VALIDATION_WEIGHTS["gaze"] * parts["gaze_error_deg"].deg2rad()


def image_loss(parts: dict[str, Tensor]) -> Tensor:
    """L1 + 0.1 (1 - SSIM) + 0.1 perceptual: what of `validation_loss` a mesh without moving eyes can be measured by. [B]."""
    return (
        VALIDATION_WEIGHTS["l1"] * parts["l1"]
        + VALIDATION_WEIGHTS["ssim"] * (1 - parts["ssim"])
        + VALIDATION_WEIGHTS["perceptual"] * parts["perceptual"]
    )


def summarise(parts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Average per-image values over all images of all batches, however they were batched.

    Args:
        parts: What `validation_parts` returned, one per batch, with the same names. Each value [B]

    Returns:
        Mean of every part; empty without batches.
    """
    names = parts[0] if parts else ()
    return {name: torch.cat([part[name] for part in parts]).double().mean().item() for name in names}

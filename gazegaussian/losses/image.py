"""The GazeGaussian loss (weights: `gazegaussian.config.GazeGaussianLoss`)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianLoss
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.types import Batch

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 1e-4, 9e-4


class Guide(Protocol):
    """What the losses need of the guide network."""

    def perceptual(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance per image, each of `b` from the K of `a` that are B rows apart. [K B, ...] x [B, ...] -> [K B]."""
        ...

    def gaze(self, image: Tensor, landmarks_2d: Tensor) -> Tensor:
        """Pitch and yaw, rad. [B, 2]."""
        ...


def _window(x: Tensor) -> Tensor:
    """Filter every channel with the Gaussian window, zeros beyond the border. [B, C, H, W].

    One group per channel, channels last: on the CPU the same filter takes five times as long with channels first, and forty
    times as long with the channels in the batch dimension.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    half, channels = SSIM_WINDOW // 2, x.shape[1]
    taps = torch.exp(-torch.arange(-half, half + 1, device=x.device, dtype=x.dtype).square() / (2 * SSIM_SIGMA**2))
    taps = (taps / taps.sum()).expand(channels, 1, -1)
    x = nn.functional.conv2d(x, taps[..., None].contiguous(), padding=(half, 0), groups=channels)
    return nn.functional.conv2d(x, taps[:, :, None].contiguous(), padding=(0, half), groups=channels)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, zero padding.

    Args:
        a: Images in [0, 1]. [B, C, H, W]
        b: Images in [0, 1]. [B, C, H, W]

    Returns:
        Mean per image. [B]
    """
    filtered = _window(torch.cat([a, b, a * a + b * b, 2 * a * b], dim=1))  # [B, 4 C, H, W]
    mean_a, mean_b, squares, twice_product = filtered.split(a.shape[1], dim=1)
    twice_means, mean_squares = 2 * mean_a * mean_b, mean_a.square() + mean_b.square()
    similarity = ((twice_means + SSIM_C1) * (twice_product - twice_means + SSIM_C2)) / (
        (mean_squares + SSIM_C1) * (squares - mean_squares + SSIM_C2)  # the variances appear as their sum only
    )
    return similarity.mean((1, 2, 3))


def on_white(image: Tensor, mask: Tensor) -> Tensor:
    """Keep the image inside the mask, white outside."""
    return image * mask + 1 - mask


def mean_abs_cosine(a: Tensor, b: Tensor, rows: Tensor) -> Tensor:
    """Mean |cosine| between vectors of selected points.

    Args:
        a: [B, N, C]
        b: [B, N, C]
        rows: Points that count. [N] bool

    Returns:
        Scalar in [0, 1]; zero when no point counts.
    """
    cosine = nn.functional.cosine_similarity(a, b, dim=-1, eps=1e-6).abs()  # [B, N]
    return (cosine * rows).sum() / (rows.sum() * a.shape[0]).clamp_min(1)


def image_terms(
    layers: dict[str, tuple[Tensor, Tensor]], eye_weight: float, ssim_weight: float, face_weight: float = 1.0
) -> dict[str, Tensor]:
    """L1 + ssim_weight (1 - SSIM) of each layer's (prediction, target), times the weight of its layer."""
    names = list(layers)
    predictions = torch.cat([layers[name][0] for name in names])
    targets = torch.cat([layers[name][1] for name in names])
    l1 = (predictions - targets).abs().mean((1, 2, 3))
    value = (l1 + ssim_weight * (1 - ssim(predictions, targets))).view(len(names), -1).mean(1)
    return {name: value[i] * _layer_weight(name, eye_weight, face_weight) for i, name in enumerate(names)}


def _layer_weight(name: str, eyes: float, face: float) -> float:
    """Weight of a layer's terms: `eyes` and `face` have their own."""
    return eyes if "eyes" in name else face if "face" in name else 1.0


def eyes_in_head(batch: Batch) -> Tensor:
    """Where the target shows eyes. [B, 1, H, W]."""
    return batch.eye_mask * batch.head_mask


def layer_pairs(
    features: dict[str, Tensor], images: dict[str, Tensor], batch: Batch, eyes: Tensor | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Pair every layer with its target.

    Feature maps show their first three channels, upsampled and masked; rendered images are not masked, so that they learn
    the white background (published).

    Args:
        features: Maps of `head`, `face`, `eyes`. [B, 32, h, w]
        images: Renders of the same. [B, 3, H, W]
        batch: Targets.
        eyes: Where the eyes are; None takes `eyes_in_head`. [B, 1, H, W]
    """
    eyes = eyes_in_head(batch) if eyes is None else eyes
    masks = {"head": batch.head_mask, "face": batch.head_mask * (1 - eyes), "eyes": eyes}
    pairs = {}
    for name, mask in masks.items():
        target = on_white(batch.image, mask)
        colors = nn.functional.interpolate(
            features[name][:, :3], size=batch.image.shape[-2:], mode="bilinear", align_corners=False
        )
        pairs[name] = (on_white(colors, mask), target)
        pairs[f"{name}_image"] = (images[name], target)
    return pairs


def eye_region_loss(colors: tuple[Tensor, Tensor], images: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """L1 inside the eye masks over their own area (ours), of the whole head's feature colours and of its image."""
    eyes = eyes_in_head(batch)
    error = sum((prediction - target).abs() for prediction, target in (colors, images))
    return (error * eyes).sum() / (3 * eyes.sum()).clamp_min(1)


def gaze_gaussian_losses(
    features: dict[str, Tensor],
    images: dict[str, Tensor],
    batch: Batch,
    config: GazeGaussianLoss,
    epoch: int,
    guide: Guide,
    eyes: Tensor | None = None,
) -> dict[str, Tensor]:
    """Weighted image terms of the GazeGaussian loss.

    Args:
        features: Feature maps of `head`, `face` and `eyes`. [B, 32, h, w]
        images: Renders of the same. [B, 3, H, W]
        batch: Targets.
        config: Weights.
        epoch: Counted from 0; perceptual and gaze terms are zero before `perceptual_start_epoch`.
        guide: Frozen network.
        eyes: Where the eyes are; None takes `eyes_in_head`. [B, 1, H, W]

    Returns:
        Scalars by name; their sum is minimised.
    """
    pairs = layer_pairs(features, {k: v.float() for k, v in images.items()}, batch, eyes)
    eye_weight, face_weight = config.eye_loss_importance, config.face_loss_importance
    terms = image_terms(pairs, eye_weight, config.ssim_importance, face_weight)
    region = eye_region_loss(pairs["head"], pairs["head_image"], batch)
    terms["eye_region"] = eye_weight * config.eye_region_importance * region
    zero = batch.image.new_zeros(())
    if epoch < config.perceptual_start_epoch:
        return {**terms, "perceptual": zero, "gaze": zero}
    names = [*features, *(f"{name}_image" for name in features)]  # feature colours and render of a layer share a target
    predictions = torch.cat([pairs[name][0] for name in names])
    targets = torch.cat([pairs[name][1] for name in features])
    distances = guide.perceptual(predictions, targets).view(len(names), -1).mean(1)
    weights = distances.new_tensor([_layer_weight(name, eye_weight, face_weight) for name in names])
    terms["perceptual"] = config.vgg_importance * (distances * weights).sum()
    with torch.no_grad():
        wanted = guide.gaze(batch.image, batch.landmarks_2d)
    seen = guide.gaze(images["head"].float(), batch.landmarks_2d)
    terms["gaze"] = config.gaze_loss_importance * angular_error(seen, wanted).mean()
    return terms

"""The GazeGaussian loss (weights: `gazegaussian.config.GazeGaussianLoss`)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianLoss
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.types import Batch
from gazegaussian.utils.constants import constant

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 1e-4
SSIM_C2 = 9e-4
LAYERS = ("head", "face", "eyes")
REGION_GRID = 4  # px
COARSE_SQUARES = 32  # across an image
REGION_WIDTH = 0.12  # of the distance of the outer eye corners: where the weight of a landmark has fallen to 1 / e


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

    One group per channel. On the CPU channels last: the same filter takes five times as long with channels first, and forty
    times as long with the channels in the batch dimension. CUDA has a kernel of its own for channels first alone.
    """
    layout = torch.contiguous_format if x.device.type == "cuda" else torch.channels_last
    x = x.contiguous(memory_format=layout)
    half = SSIM_WINDOW // 2
    channels = x.shape[1]
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
    twice_means = 2 * mean_a * mean_b
    mean_squares = mean_a.square() + mean_b.square()
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
    a = a.float()
    b = b.float()
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    cosine = ((a * b).sum(-1) / lengths.clamp_min(1e-12)).abs()  # [B, N]
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
    weights = constant(tuple(_layer_weight(name, eye_weight, face_weight) for name in names), value)
    return dict(zip(names, (value * weights).unbind(), strict=True))


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
    masks = torch.stack([batch.head_mask, batch.head_mask * (1 - eyes), eyes])  # [3, B, 1, H, W]
    targets = on_white(batch.image, masks)
    maps = torch.cat([features[name][:, :3] for name in LAYERS])
    colors = nn.functional.interpolate(maps, size=batch.image.shape[-2:], mode="bilinear", align_corners=False)
    pairs = {}
    for name, shown, target in zip(LAYERS, on_white(colors.unflatten(0, (3, -1)), masks), targets, strict=True):
        pairs[name] = (shown, target)
        pairs[f"{name}_image"] = (images[name], target)
    return pairs


def masked_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over the weighted area, 0 where there is none. [B, C, H, W], [B, 1, H, W] -> scalar."""
    return (error * weight).sum() / (error.shape[1] * weight.sum()).clamp_min(1e-3)


def features_region(batch: Batch) -> Tensor:
    """Weight in [0, 1] of the pixels around mouth, nose and brows, on a grid of 4 px. [B, 1, H, W]."""
    height, width = batch.image.shape[-2:]
    rows = torch.arange(0, height, REGION_GRID, device=batch.image.device) + (REGION_GRID - 1) / 2
    columns = torch.arange(0, width, REGION_GRID, device=batch.image.device) + (REGION_GRID - 1) / 2
    spots = torch.cat([batch.landmarks_2d[:, 17:36], batch.landmarks_2d[:, 48:68]], dim=1)  # [B, L, 2]
    eyes_apart = (batch.landmarks_2d[:, 45] - batch.landmarks_2d[:, 36]).norm(dim=-1).clamp_min(height / 12)  # [B]
    x = (columns[None, None] - spots[..., :1]).square()  # [B, L, w]
    y = (rows[None, None] - spots[..., 1:]).square()  # [B, L, h]
    nearest = (y[..., :, None] + x[..., None, :]).amin(1)  # [B, h, w]
    weight = torch.exp(-nearest / (REGION_WIDTH * eyes_apart[:, None, None]).square())
    return nn.functional.interpolate(weight[:, None], size=(height, width), mode="nearest") * batch.head_mask


def features_region_losses(image: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """L1 around mouth, nose and brows over their own area (ours): of the pixels, and of their means over squares.

    A render that is right but for a few pixels is wrong in every pixel of a mouth's narrow opening. L1 then prefers the
    median, which is closed lips; the means keep how dark the opening is wherever it lies.

    Args:
        image: Render of the head. [B, 3, H, W]
        batch: Targets.

    Returns:
        Two scalars.
    """
    error = image - on_white(batch.image, batch.head_mask)
    weight = features_region(batch)
    side = max(1, image.shape[-1] // COARSE_SQUARES)
    means = nn.functional.avg_pool2d(error, side)
    return masked_mean(error.abs(), weight), masked_mean(means.abs(), nn.functional.avg_pool2d(weight, side))


def eye_region_loss(colors: tuple[Tensor, Tensor], images: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """L1 inside the eye masks over their own area (ours), of the whole head's feature colours and of its image."""
    eyes = eyes_in_head(batch)
    error = sum((prediction - target).abs() for prediction, target in (colors, images))
    return (error * eyes).sum() / (3 * eyes.sum()).clamp_min(1)


def _head_terms(
    features: dict[str, Tensor], image: Tensor, batch: Batch, config: GazeGaussianLoss, eyes: Tensor
) -> dict[str, Tensor]:
    """Terms without renders of the layers: L1 of all maps at the maps' own size, L1 and SSIM of the head's render."""
    masks = {"head": batch.head_mask, "face": batch.head_mask * (1 - eyes), "eyes": eyes}
    targets = [on_white(batch.image, mask) for mask in masks.values()]
    size = features["head"].shape[-2:]
    small = nn.functional.interpolate(torch.cat([*targets, *masks.values()], dim=1), size, mode="area")
    terms = {}
    errors = {}
    for name, wanted, mask in zip(masks, small[:, :9].split(3, dim=1), small[:, 9:].split(1, dim=1), strict=True):
        errors[name] = (on_white(features[name][:, :3].float(), mask) - wanted).abs()
        terms[name] = errors[name].mean() * _layer_weight(name, config.eye_loss_importance, config.face_loss_importance)
    error = (image - targets[0]).abs()
    terms["head_image"] = error.mean() + config.ssim_importance * (1 - ssim(image, targets[0])).mean()
    region = masked_mean(errors["head"], small[:, -1:]) + masked_mean(error, eyes)
    terms["eye_region"] = config.eye_loss_importance * config.eye_region_importance * region
    return terms


def _guided_terms(
    layers: dict[str, tuple[Tensor, Tensor]], image: Tensor, batch: Batch, config: GazeGaussianLoss, guide: Guide
) -> dict[str, Tensor]:
    """Perceptual term of every layer's (prediction, target) and gaze term of the head's render.

    A layer's feature colours and its render, which follow one another in this order, share a target.
    """
    names = list(layers)
    shared = [name for name in names if not name.endswith("_image")] or names
    distances = guide.perceptual(
        torch.cat([layers[name][0] for name in names]), torch.cat([layers[name][1] for name in shared])
    )
    distances = distances.view(len(names), -1).mean(1)
    weights = [_layer_weight(name, config.eye_loss_importance, config.face_loss_importance) for name in names]
    both = torch.cat([image, batch.image])  # crops of eyes are small: one pass is half the calls
    seen, wanted = guide.gaze(both, batch.landmarks_2d.repeat(2, 1, 1)).chunk(2)
    return {
        "perceptual": config.vgg_importance * (distances * constant(tuple(weights), distances)).sum(),
        "gaze": config.gaze_loss_importance * angular_error(seen, wanted.detach()).mean(),
    }


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
        images: Renders of the same, or of `head` alone (`layer_images: false`). [B, 3, H, W]
        batch: Targets.
        config: Weights.
        epoch: Counted from 0; perceptual and gaze terms are zero before `perceptual_start_epoch`.
        guide: Frozen network.
        eyes: Where the eyes are; None takes `eyes_in_head`. [B, 1, H, W]

    Returns:
        Scalars by name; their sum is minimised.
    """
    eyes = eyes_in_head(batch) if eyes is None else eyes
    renders = {name: image.float() for name, image in images.items()}
    if set(renders) == {"head"}:
        terms = _head_terms(features, renders["head"], batch, config, eyes)
        layers = {"head_image": (renders["head"], on_white(batch.image, batch.head_mask))}
    else:
        layers = layer_pairs(features, renders, batch, eyes)
        terms = image_terms(layers, config.eye_loss_importance, config.ssim_importance, config.face_loss_importance)
        region = eye_region_loss(layers["head"], layers["head_image"], batch)
        terms["eye_region"] = config.eye_loss_importance * config.eye_region_importance * region
        layers = {name: layers[name] for name in (*features, *(f"{name}_image" for name in features))}
    if config.features_region_importance or config.features_coarse_importance:
        fine, coarse = features_region_losses(renders["head"], batch)
        terms["features_region"] = config.features_region_importance * fine + config.features_coarse_importance * coarse
    if epoch < config.perceptual_start_epoch:
        zero = batch.image.new_zeros(())
        return {**terms, "perceptual": zero, "gaze": zero}
    return {**terms, **_guided_terms(layers, renders["head"], batch, config, guide)}

"""The MeshHead loss (weights: `gazegaussian.config.MeshHeadLoss`)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.config import MeshHeadLoss
from gazegaussian.types import Batch, MeshImage


def color_loss(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 inside the mask. [B, 3, H, W] x 2, [B, 1, H, W]."""
    return ((image - target).abs() * mask).sum() / (mask.sum() * image.shape[1]).clamp_min(1)


def soft_iou_loss(silhouette: Tensor, mask: Tensor) -> Tensor:
    """1 - intersection over union of soft masks [B, 1, H, W], mean over the batch."""
    intersection = (silhouette * mask).sum((1, 2, 3))
    union = (silhouette + mask - silhouette * mask).sum((1, 2, 3))
    return (1 - intersection / union.clamp_min(1)).mean()


def silhouette_iou(mask: Tensor, target: Tensor) -> Tensor:
    """Hard intersection over union of masks in [0, 1]. [B, 1, H, W] x 2 -> [B]."""
    a = mask > 0.5
    b = target > 0.5
    return (a & b).sum((1, 2, 3)).float() / (a | b).sum((1, 2, 3)).clamp_min(1)


def laplacian_loss(vertices: Tensor, faces: Tensor) -> Tensor:
    """Mean squared uniform Laplacian.

    Per vertex the sum over its faces of the two edge vectors, divided by twice the number of faces (published code).

    Args:
        vertices: [V, 3]
        faces: [F, 3]
    """
    a, b, c = vertices[faces].unbind(1)
    sums = torch.zeros_like(vertices)
    counts = vertices.new_zeros(vertices.shape[0], 1)
    ones = vertices.new_ones(faces.shape[0], 1)
    for i, edges in enumerate((b + c - 2 * a, a + c - 2 * b, a + b - 2 * c)):
        sums = sums.index_add(0, faces[:, i], edges)
        counts = counts.index_add(0, faces[:, i], ones)
    return (sums / (2 * counts.clamp_min(1))).square().mean()


def mesh_head_losses(
    landmarks: Tensor,
    landmark_sdf: Tensor,
    neutral_vertices: Tensor,
    faces: Tensor,
    displacement: Tensor,
    image: MeshImage,
    batch: Batch,
    config: MeshHeadLoss,
) -> dict[str, Tensor]:
    """Weighted terms of the MeshHead loss.

    Args:
        landmarks: Predicted landmarks, world. [B, L, 3]
        landmark_sdf: Signed distance at the neutral landmarks. [L]
        neutral_vertices: Head frame. [V, 3]
        faces: [F, 3]
        displacement: Deformation of the vertices, head frame. [B, V, 3]
        image: Rendered mesh.
        batch: Targets.
        config: Weights.

    Returns:
        Scalars by name; their sum is minimised.
    """
    residual = (landmarks - batch.landmarks_3d) / batch.parameters.scale[:, None]  # model units
    return {
        "color": config.color_importance * color_loss(image.attributes[:, :3], batch.image, batch.head_mask),
        "silhouette": config.silhouette_importance * soft_iou_loss(image.silhouette, batch.head_mask),
        "landmark_deform": config.landmark_deform_importance * residual.square().sum(-1).mean(),
        "offset": config.offset_importance * displacement.square().sum(-1).mean(),
        "landmark_sdf": config.landmark_sdf_importance * landmark_sdf.abs().mean(),
        "laplacian": config.laplacian_importance * laplacian_loss(neutral_vertices, faces),
    }

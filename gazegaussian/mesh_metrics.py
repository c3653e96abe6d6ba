"""What a rendered MeshHead is measured by on held-out people, beside its loss.

Images are in [0, 1] on white, masks are 0 or 1; every function gives one value per image or per mesh.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gazegaussian.losses.image import eyes_in_head, features_region, on_white, ssim
from gazegaussian.losses.mesh import silhouette_iou
from gazegaussian.metrics import Judge, image_loss
from gazegaussian.rendering.mesh import edge_table
from gazegaussian.types import Batch, MeshImage

BOUNDARY_TOLERANCE = 0.015  # of the image's height: how far a contour may lie from the true one and still counts


def boundary_f_score(mask: Tensor, target: Tensor) -> Tensor:
    """Harmonic mean of precision and recall of the contour (Martin et al. 2004), within `BOUNDARY_TOLERANCE`.

    Args:
        mask: Rendered coverage. [B, 1, H, W]
        target: True coverage. [B, 1, H, W]

    Returns:
        In [0, 1]; 1 where both contours agree. [B]
    """
    reach = max(1, round(BOUNDARY_TOLERANCE * mask.shape[-2]))
    own = _contour(mask)
    true = _contour(target)
    near_true, near_own = (nn.functional.max_pool2d(x, 2 * reach + 1, 1, reach) for x in (true, own))
    precision = (own * near_true).sum((1, 2, 3)) / own.sum((1, 2, 3)).clamp_min(1)
    recall = (true * near_own).sum((1, 2, 3)) / true.sum((1, 2, 3)).clamp_min(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-6)


def _contour(mask: Tensor) -> Tensor:
    """Pixels of the mask that touch what is outside. [B, 1, H, W]."""
    inside = (mask > 0.5).float()
    outside = nn.functional.pad(1 - inside, (1, 1, 1, 1), value=1.0)
    return inside * nn.functional.max_pool2d(outside, 3, 1)


def roughness(vertices: Tensor, faces: Tensor) -> Tensor:
    """Mean of 1 - cos of the angle between faces that share an edge: 0 for a plane, large for a torn surface.

    Args:
        vertices: [V, 3]
        faces: [F, 3]
    """
    a, b, c = vertices[faces].unbind(1)
    normals = nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    left, right = edge_table(faces)[:, 2:].long().unbind(1)
    shared = right >= 0
    return (1 - (normals[left[shared]] * normals[right[shared]]).sum(-1)).mean()


def mesh_head_parts(image: MeshImage, batch: Batch, judge: Judge) -> dict[str, Tensor]:
    """Measure renders of a MeshHead against held-out images.

    Args:
        image: Rendered mesh, colours in its first three attributes.
        batch: Targets.
        judge: Frozen network that no loss uses.

    Returns:
        silhouette_iou, boundary_f, l1 and ssim (whole image on white), perceptual, features_l1 (around eyes, brows, nose
        and mouth), image_loss (the validation loss of stage two without its gaze term). Each [B]
    """
    render = image.attributes[:, :3].clamp(0, 1)
    target = on_white(batch.image, batch.head_mask)
    error = (render - target).abs()
    where = torch.maximum(features_region(batch), eyes_in_head(batch))
    parts = {
        "silhouette_iou": silhouette_iou(image.mask, batch.head_mask),
        "boundary_f": boundary_f_score(image.mask, batch.head_mask),
        "l1": error.mean((1, 2, 3)),
        "ssim": ssim(render, target),
        "perceptual": judge.perceptual(render, target),
        "features_l1": (error * where).sum((1, 2, 3)) / (3 * where.sum((1, 2, 3))).clamp_min(1e-3),
    }
    return {**parts, "image_loss": image_loss(parts)}

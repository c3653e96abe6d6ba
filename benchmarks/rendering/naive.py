"""The same losses as the training steps, computed as the released code does: one image at a time, every layer rendered alone.

The baseline of `benchmarks.rendering.training_steps`: three splat renders and three passes of the neural renderer per image, the
signed distance with gradients on the whole grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.losses.image import gaze_gaussian_losses, mean_abs_cosine
from gazegaussian.models.gaze_gaussian import GazeGaussian, GazeLayers, GazeRendering, _in_camera_frame, _join
from gazegaussian.models.mesh_head import MeshHead, NeutralMesh
from gazegaussian.rendering import render_splats
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.types import Batch, Cameras, HeadParameters

Terms = dict[str, Tensor]


def mean_of_images(losses: list[Terms]) -> Terms:
    """Mean of each term over the images of a batch."""
    return {name: torch.stack([terms[name] for terms in losses]).mean() for name in losses[0]}


def three_renders(model: GazeGaussian, parameters: HeadParameters, cameras: Cameras) -> GazeRendering:
    """Head, face and eyes, each splatted and turned into an image alone."""
    face = model.face(parameters)
    eyes = model.eyes(parameters)
    rendered = []
    for splats in (_join(face.gaussians, eyes.gaussians), face.gaussians, eyes.gaussians):
        moved, still = _in_camera_frame(splats, cameras)
        down = model.config.feature_downscale
        splatted = render_splats(moved, still.resized(cameras.width // down, cameras.height // down), model.background)
        rendered.append((model.renderer(splatted.features, parameters), splatted.features))
    (image, features), face_layer, eyes_layer = rendered
    return GazeRendering(image, features, GazeLayers(*face_layer, *eyes_layer, face, eyes))


def gaze_gaussian_terms(stage: GazeGaussianStage, batch: Batch, epoch: int) -> Terms:
    """As `GazeGaussianStage.losses`, up to rounding (eye_region_importance 0, whose term is no mean over images)."""
    terms = []
    for row in range(batch.image.shape[0]):
        one = batch.rows([row])
        offsets = stage.offsets
        weights = stage.config.loss
        parameters, cameras = offsets.of(one.index).apply_to(one.parameters, one.cameras)
        rendering = three_renders(stage.model, parameters, cameras)
        losses = gaze_gaussian_losses(
            rendering.layer_features(), rendering.layer_images(), one, weights, epoch, stage.guide
        )
        cosines = [mean_abs_cosine(s.branch_a, s.branch_b, s.shared) for s in rendering.streams()]
        losses["orthogonality"] = weights.orthogonality_loss_importance * torch.stack(cosines).sum()
        rows = {name: getattr(offsets, name)[one.index].square().mean() for name in ("identity", "expression")}
        losses["identity_offset"] = weights.identity_offset_importance * rows["identity"]
        losses["expression_offset"] = weights.expression_offset_importance * rows["expression"]
        camera = offsets.rotation[one.index].square().mean() + offsets.translation[one.index].square().mean()
        losses["camera_offset"] = weights.camera_offset_importance * camera
        terms.append(losses)
    return mean_of_images(terms)


def whole_grid_mesh(model: MeshHead) -> NeutralMesh:
    """The neutral mesh with the network evaluated, and differentiated, at every grid point."""
    grid = model._tetrahedra()
    sdf, offset, features = model.query(grid.points)
    surface = grid.extract(sdf.detach(), lambda rows: (sdf[rows], (grid.points + offset)[rows]))
    ends = features[surface.grid_rows][surface.edges]
    return NeutralMesh(surface.vertices, surface.faces, (ends * surface.weights[..., None]).sum(1))


def mesh_head_terms(stage: MeshHeadStage, batch: Batch, epoch: int) -> Terms:
    """As `MeshHeadStage.losses` for one image, up to rounding; the mean over the images of a larger batch."""
    usual = stage.module.neutral_mesh
    stage.module.neutral_mesh = lambda: whole_grid_mesh(stage.module)  # type: ignore[method-assign]
    try:
        return mean_of_images([stage.losses(batch.rows([row]), epoch) for row in range(batch.image.shape[0])])
    finally:
        stage.module.neutral_mesh = usual  # type: ignore[method-assign]

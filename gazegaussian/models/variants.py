"""Picks the class of a model by the variant that its configuration names."""

from __future__ import annotations

from gazegaussian.config import GazeGaussianModel, MeshHeadModel
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.models.published.gaze_gaussian import PublishedGazeGaussian
from gazegaussian.models.published.mesh_head import PublishedMeshHead

_MESH_HEADS: dict[str, type[MeshHead]] = {"default": MeshHead, "released": PublishedMeshHead}
_GAZE_GAUSSIANS: dict[str, type[GazeGaussian]] = {"default": GazeGaussian, "released": PublishedGazeGaussian}


def build_mesh_head(config: MeshHeadModel) -> MeshHead:
    """Build a MeshHead with fresh weights."""
    return _MESH_HEADS[config.variant](config)


def gaze_gaussian_class(config: GazeGaussianModel) -> type[GazeGaussian]:
    """Class of the configured GazeGaussian."""
    return _GAZE_GAUSSIANS[config.variant]

"""GazeGaussian as published: its streams, a white background in all channels, and no principal point."""

from __future__ import annotations

import torch
from torch import Tensor

from gazegaussian.config import GazeGaussianModel
from gazegaussian.dimensions import FEATURE_CHANNELS
from gazegaussian.geometry.published import centred
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.models.published.streams import PublishedEyeStream, PublishedFaceStream, split_vertices
from gazegaussian.models.streams import StreamPoints
from gazegaussian.types import Cameras


class PublishedGazeGaussian(GazeGaussian):
    """GazeGaussian of the released code; the neural renderer is the configured one."""

    variant = "released"
    face_class = PublishedFaceStream
    eye_class = PublishedEyeStream

    @classmethod
    def _split(cls, mesh_head: MeshHead, config: GazeGaussianModel) -> tuple[StreamPoints, StreamPoints]:
        return split_vertices(mesh_head, config)

    def _background(self) -> Tensor:
        return torch.ones(FEATURE_CHANNELS)

    def _film(self, cameras: Cameras) -> Cameras:
        return centred(cameras)

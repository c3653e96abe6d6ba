"""The two streams as published: the MeshHead's vertices are the points, quaternions share a norm, both eyes turn as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianModel, MeshHeadModel
from gazegaussian.errors import ConfigError
from gazegaussian.models.branches import (
    DEFORM_SCALE,
    EYE_LANDMARKS,
    SHAPE_FAR,
    SHAPE_NEAR,
    conditioned,
    falloff,
)
from gazegaussian.models.branches import nearest_squared as nearest
from gazegaussian.models.face_stream import FaceStream
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.models.published.mesh_head import (
    PublishedMeshHead,
    offset_eyes,
    prefer_no_turn,
    rotate_about_origin,
)
from gazegaussian.models.streams import EyePoints, Stream, StreamOutput, StreamPoints
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.types import HeadParameters

EYE_SHARE = 0.005  # of the range of squared distances to an eye's landmarks: what is nearer belongs to the eyes


@torch.no_grad()
def eye_vertices(vertices: Tensor, landmarks: Tensor) -> Tensor:
    """Tell which vertices belong to the eye stream. [V, 3], [L, 3] -> [V] bool."""
    member = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    for eye in EYE_LANDMARKS:
        squared = nearest(vertices, landmarks[list(eye)])
        member |= squared <= squared.min() + EYE_SHARE * (squared.max() - squared.min())
    return member


@torch.no_grad()
def split_vertices(mesh_head: MeshHead, config: GazeGaussianModel) -> tuple[StreamPoints, StreamPoints]:
    """Share the vertices of the subdivided neutral mesh out among face and eyes.

    Raises:
        ConfigError: The two streams are to be subdivided differently.
    """
    times = config.face_subdivisions
    if times != config.eye_subdivisions:
        raise ConfigError(
            f"Variant published has one mesh for both streams: face_subdivisions is {times}, eye_subdivisions "
            f"{config.eye_subdivisions}. Set both to the same number."
        )
    if isinstance(mesh_head, PublishedMeshHead):
        mesh = mesh_head.subdivided_mesh(times)
    elif times == 0:
        mesh = mesh_head.neutral_mesh()
    else:
        raise ConfigError(
            "Variant released subdivides the tetrahedra of a MeshHead of its own variant, and this one is of variant "
            f"{mesh_head.variant}. Set face_subdivisions and eye_subdivisions to 0, or train the MeshHead with variant: "
            "published."
        )
    eyes = eye_vertices(mesh.vertices, mesh_head.landmarks_3d_neutral)
    face = StreamPoints(mesh.vertices[~eyes], mesh.features[~eyes])
    return face, StreamPoints(mesh.vertices[eyes], mesh.features[eyes])


class _Published(Stream):
    """What both streams do differently."""

    variant = "released"
    initial_scale = 1.0

    def _unit_quats(self, quats: Tensor) -> Tensor:
        # Published: each component is divided by its norm over all points of the stream.
        return nn.functional.normalize(nn.functional.normalize(quats, dim=1), dim=-1)

    def _splat_features(self, features: Tensor) -> Tensor:
        return features


class PublishedFaceStream(_Published, FaceStream):
    """The face of the released code."""

    initial_opacity = 0.3


class PublishedEyeStream(_Published, EyePoints):
    """The eyes of the released code: the points near the left set of landmarks turn, twice."""

    initial_opacity = 0.9

    def __init__(self, mesh_config: MeshHeadModel, points: int) -> None:
        super().__init__(mesh_config, points)
        self.eye_motion = mesh_config.eye_motion
        prefer_no_turn(self.eye_rotation)

    def forward(self, parameters: HeadParameters) -> StreamOutput:
        """Splats of the eyes of B heads."""
        features = torch.tanh(self.features)
        gaze = positional_encoding(parameters.gaze)
        eye_color = conditioned(self.eye_color, features, gaze)
        shape_color = conditioned(self.shape_color, features, parameters.shape_code)
        deltas = conditioned(self.eye_attributes, features, gaze)
        turned = self._move(parameters.gaze)
        offset = torch.tanh(conditioned(self.shape_deform, positional_encoding(self.means), parameters.shape_code))
        # these splats are balls, which no turn changes
        splats = self._splats(turned + DEFORM_SCALE * offset, eye_color + shape_color, deltas, parameters)
        everywhere = torch.ones_like(self.means[:, 0], dtype=torch.bool)
        return StreamOutput(splats, eye_color, shape_color, everywhere)

    def _move(self, gaze: Tensor) -> Tensor:
        """Points after gaze has acted. [B, N, 3]."""
        points = self.means.expand(len(gaze), -1, -1)
        if self.eye_motion == "offset":
            weight = falloff(nearest(self.means.detach(), self.landmarks), SHAPE_NEAR, SHAPE_FAR)[:, None]
            return offset_eyes(points, weight, self.eye_rotation, gaze)
        near = nearest(self.means.detach(), self.landmarks[: len(EYE_LANDMARKS[0])]) < SHAPE_FAR
        for _ in EYE_LANDMARKS:
            points = rotate_about_origin(points, near[:, None], self.eye_rotation, gaze)
        return points

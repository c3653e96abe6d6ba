"""The stream of the face: everything but the eyes, driven by expression near the landmarks and by head pose elsewhere.

A frame asks for it in three steps, so that frames share what does not change between them: `still` (the weights alone),
`with_code` (expression and identity) and `posed` (the head pose). Training takes all three at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gazegaussian.config import MeshHeadModel
from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.models.branches import (
    DEFORM_SCALE,
    ENCODED_POSE,
    EYE_LANDMARKS,
    POINT_FEATURES,
    SHAPE_FAR,
    SHAPE_NEAR,
    Branches,
    Reach,
    falloff,
    hidden_widths,
    nearest_squared,
    rows_of,
)
from gazegaussian.models.streams import Stream, StreamOutput
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.nn.mlp import MLP, to_autocast
from gazegaussian.types import Gaussians, HeadParameters


@dataclass(frozen=True)
class FacePoints:
    """What no parameter of a head changes."""

    weight: Tensor  # [N, 1] of the expression; that of the head pose is the rest
    features: Tensor  # [N, 128]
    encoded: Tensor  # [N, 27] positions
    shape_rows: Tensor  # [R] points that the expression acts on
    pose_rows: Tensor  # [S] points that the head pose acts on
    both: Tensor  # [P] points that both act on


@dataclass(frozen=True)
class CodedFace:
    """What expression and identity give the face, before the head pose acts."""

    points: FacePoints
    branch: Tensor  # [B, R, 32] what the colour branch wrote
    colors: Tensor  # [B, N, 32] the same, weighted
    deltas: Tensor  # [B, N, 8]
    offset: Tensor  # [B, N, 3]


class FaceStream(Stream):
    """Everything but the eyes."""

    inherited = ("shape_color", "pose_color", "shape_deform", "pose_deform")

    def __init__(self, mesh_config: MeshHeadModel, points: int) -> None:
        super().__init__(points, 3, mesh_config.landmarks - sum(map(len, EYE_LANDMARKS)))
        branches = Branches(mesh_config)
        widths = hidden_widths(mesh_config)
        self.shape_color = branches.shape_color
        self.pose_color = branches.pose_color
        self.shape_deform = branches.shape_deform
        self.pose_deform = branches.pose_deform
        self.shape_attributes = MLP(POINT_FEATURES + SHAPE_CODE_DIM, widths["shape_attributes"], 8, SHAPE_CODE_DIM)
        self.pose_attributes = MLP(POINT_FEATURES + ENCODED_POSE, widths["pose_attributes"], 8)

    def _own_landmarks(self, landmarks: Tensor) -> Tensor:
        eyes = {row for eye in EYE_LANDMARKS for row in eye}
        return landmarks[[row for row in range(len(landmarks)) if row not in eyes]]

    def still(self) -> FacePoints:
        """Compute what the weights alone decide; on CUDA the host waits once."""
        weight = falloff(nearest_squared(self.means.detach(), self.landmarks), SHAPE_NEAR, SHAPE_FAR)[:, None]
        # A third of the points need no pose and a tenth no shape: that saves a GPU more than it loses by a wait.
        rows = rows_of([weight, 1 - weight, weight * (1 - weight)])
        features = to_autocast(torch.tanh(self.features))
        return FacePoints(weight, features, to_autocast(positional_encoding(self.means)), *rows)

    def with_code(self, points: FacePoints, shape_code: Tensor) -> CodedFace:
        """Let expression and identity act. Shape code [B, 144]."""
        shape = Reach(points.weight, shape_code, points.shape_rows)
        branch = shape.of(self.shape_color, points.features)
        deltas = shape.weighted(shape.of(self.shape_attributes, points.features))
        offset = shape.weighted(torch.tanh(shape.of(self.shape_deform, points.encoded)))
        return CodedFace(points, branch, shape.weighted(branch), deltas, offset)

    def posed(self, face: CodedFace, parameters: HeadParameters) -> tuple[Gaussians, Tensor]:
        """Let the head pose act on what expression and identity gave, which is written to.

        Returns:
            Splats of B heads, and what the colour branch of the pose wrote [B, S, 32].
        """
        points = face.points
        pose = Reach(1 - points.weight, positional_encoding(parameters.pose), points.pose_rows)
        branch = pose.of(self.pose_color, points.features)
        deltas = pose.added(face.deltas, pose.of(self.pose_attributes, points.features))
        offset = pose.added(face.offset, torch.tanh(pose.of(self.pose_deform, points.encoded)))
        colors = pose.added(face.colors, branch)
        return self._splats(self.means + DEFORM_SCALE * offset, colors, deltas, parameters), branch

    def forward(self, parameters: HeadParameters) -> StreamOutput:
        """Splats of B heads."""
        points = self.still()
        face = self.with_code(points, parameters.shape_code)
        splats, pose_color = self.posed(face, parameters)
        # What is compared is a quarter of the points: rows are sorted, so their places in the branches' rows are found.
        shape_there = face.branch.index_select(1, torch.searchsorted(points.shape_rows, points.both))
        pose_there = pose_color.index_select(1, torch.searchsorted(points.pose_rows, points.both))
        return StreamOutput(splats, shape_there, pose_there, torch.ones_like(points.both, dtype=torch.bool))

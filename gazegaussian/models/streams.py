"""What both streams of Gaussians are, initialised from the neutral mesh, and the stream of the eyes in the variant `default`.

The branches come from the MeshHead with their trained weights and whatever widths its study found; attribute branches
(scale, rotation, opacity) and the rotation of the eyes are new. Points are head frame, model units; outputs are in the world.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree
from torch import Tensor, nn

from gazegaussian.config import GazeGaussianModel, MeshHeadModel
from gazegaussian.dimensions import FEATURE_CHANNELS, SHAPE_CODE_DIM
from gazegaussian.geometry.gaze import gaze_to_matrix
from gazegaussian.geometry.heads import head_to_world
from gazegaussian.geometry.rotations import axis_angle_to_quat, quat_multiply, rotate_about
from gazegaussian.models.branches import (
    DEFORM_SCALE,
    ENCODED_GAZE,
    ENCODED_POINT,
    EYE_LANDMARKS,
    NO_TURN,
    POINT_FEATURES,
    Branches,
    conditioned,
    eye_quaternions,
    eyeball_centres,
    hidden_widths,
    nearest_squared,
)
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.nn.mlp import MLP, to_autocast
from gazegaussian.types import Gaussians, HeadParameters

logger = logging.getLogger(__name__)

ATTRIBUTE_SCALE = 0.2
INITIAL_OPACITY = 0.9
INITIAL_SCALE = 0.5  # of the distance to the neighbours closes the surface; larger splats blur small maps for long
EYE_RADIUS = 0.1  # model units: how far from a landmark or the middle of its opening an eye reaches
EYE_DEPTH_WEIGHT = 0.3  # distances in depth count less: the learned surface may lie before or behind the landmarks
EYEBALL_RADIUS = 0.18  # model units: makes positions on the eyeball about unit length
COLOR_CHANNELS = 3
FOCUS_LANDMARKS = (*range(17, 36), *range(48, 68))  # brows, nose, mouth
FOCUS_RADIUS = 0.15  # model units; every further subdivision reaches 1 / FOCUS_SHRINK as far
FOCUS_SHRINK = 1.5


@dataclass(frozen=True)
class StreamOutput:
    """Splats of one stream and what its branches wrote, for the orthogonality loss."""

    gaussians: Gaussians
    branch_a: Tensor  # [B, P, 32] at the points that both branches act on, or at all of the stream
    branch_b: Tensor  # [B, P, 32] at the same points
    shared: Tensor  # [P] bool: both branches act on this point


@dataclass(frozen=True)
class StreamPoints:
    """Where a stream starts."""

    means: Tensor  # [N, 3]
    features: Tensor  # [N, 128] in (-1, 1)


def eye_membership(points: Tensor, landmarks: Tensor, radius: float = EYE_RADIUS) -> Tensor:
    """Assign points to eyes.

    Args:
        points: Head frame. [N, 3]
        landmarks: Neutral landmarks. [L, 3]
        radius: Reach of an eye, model units.

    Returns:
        0 or 1 for the eye whose landmarks or middle are within `radius`, -1 for the face. [N]
    """
    distances = []
    metric = points.new_tensor([1.0, 1.0, EYE_DEPTH_WEIGHT])
    points = points * metric
    for eye in EYE_LANDMARKS:
        rim = landmarks[list(eye)] * metric
        distances.append(nearest_squared(points, torch.cat([rim, rim.mean(0, keepdim=True)])))
    squared, which = torch.stack(distances).min(0)
    return torch.where(squared < radius**2, which, torch.full_like(which, -1))


@torch.no_grad()
def split_points(mesh_head: MeshHead, config: GazeGaussianModel) -> tuple[StreamPoints, StreamPoints]:
    """Sample the neutral mesh for the face and the eye stream (vertices after midpoint subdivision)."""
    neutral = mesh_head.neutral_mesh()
    landmarks = mesh_head.landmarks_3d_neutral
    streams = []
    for subdivisions, eyes in ((config.face_subdivisions, False), (config.eye_subdivisions, True)):
        faces = neutral.faces
        if eyes:  # subdivide the neighbourhood only
            near = eye_membership(neutral.vertices, landmarks, 3 * EYE_RADIUS) >= 0
            faces = faces[near[faces].any(1)]
        vertices = neutral.vertices.cpu().numpy()
        triangles = faces.cpu().numpy()
        for _ in range(subdivisions):
            vertices, triangles = trimesh.remesh.subdivide(vertices, triangles)
        if not eyes:
            vertices, triangles = _refine_focus(vertices, triangles, landmarks, config.focus_subdivisions)
        points = torch.from_numpy(np.ascontiguousarray(vertices[np.unique(triangles)])).to(neutral.vertices)
        points = points[(eye_membership(points, landmarks) >= 0) == eyes]
        streams.append(StreamPoints(points, mesh_head.query(points)[2]))
    return streams[0], streams[1]


def _refine_focus(
    vertices: np.ndarray, triangles: np.ndarray, landmarks: Tensor, times: int
) -> tuple[np.ndarray, np.ndarray]:
    """Subdivide the triangles around mouth, nose and brows.

    Args:
        vertices: Head frame. [V, 3]
        triangles: [F, 3]
        landmarks: Neutral landmarks. [L, 3]
        times: How often.

    Returns:
        Vertices and triangles of the finer mesh.
    """
    focus = cKDTree(landmarks[list(FOCUS_LANDMARKS)].detach().cpu().numpy())
    for level in range(times):
        near = focus.query(vertices)[0] < FOCUS_RADIUS / FOCUS_SHRINK**level
        chosen = np.flatnonzero(near[triangles].any(1))
        vertices, triangles = trimesh.remesh.subdivide(vertices, triangles, chosen)
    return vertices, triangles


def _neighbour_log_scale(means: Tensor) -> Tensor:
    """Log of the root mean squared distance to the three nearest other points. [N, 3] -> [N, 1]."""
    points = means.detach().cpu().numpy()
    neighbours = min(4, len(points))
    distances = np.atleast_2d(cKDTree(points).query(points, k=neighbours)[0])[:, 1:]
    squared = np.maximum((distances**2).mean(1, keepdims=True), 1e-7)
    return torch.from_numpy(0.5 * np.log(squared)).to(means)


class CodeBasis(nn.Module):
    """What the shape code adds linearly to each point: offset, colour and opacity.

    The branches are networks over all points whose codes begin without influence; they learn what most people share. A
    linear map per point follows a code from the first steps on, as a morphable model does (Blanz and Vetter 1999), and hears
    identity at the back of the head, where the branches hear only the head pose. Of low rank, since a map of its own per
    point and code column would be most of the model.

    Args:
        points: Gaussians of the stream.
        rank: Columns that the code is projected to.
    """

    columns = (3, COLOR_CHANNELS, 1)  # offset, colour logits, opacity logit
    reach = 0.1  # model units that a unit of the response moves a point

    def __init__(self, points: int, rank: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        projection = torch.randn(rank, SHAPE_CODE_DIM, generator=generator) / SHAPE_CODE_DIM**0.5
        self.project = nn.Parameter(projection)
        self.response = nn.Parameter(torch.zeros(rank, points * sum(self.columns)))

    def forward(self, shape_code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 144] -> offsets [B, N, 3] in model units, colour logits [B, N, 3], opacity logits [B, N, 1]."""
        response = (shape_code @ self.project.T) @ self.response  # [B, N * 7]
        offset, color, opacity = response.unflatten(1, (-1, sum(self.columns))).split(list(self.columns), dim=-1)
        return self.reach * offset, color, opacity


class Stream(nn.Module):
    """Parameters of the points; subclasses add branches."""

    variant = "default"
    initial_scale = INITIAL_SCALE
    initial_opacity = INITIAL_OPACITY
    inherited: tuple[str, ...] = ()  # branches that begin as the MeshHead's

    def __init__(self, points: int, scale_columns: int, landmarks: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(points, 3))
        self.features = nn.Parameter(torch.zeros(points, POINT_FEATURES))
        self.log_scales = nn.Parameter(torch.zeros(points, scale_columns))
        self.quats: Tensor
        quats = torch.tensor(NO_TURN).repeat(points, 1)
        if scale_columns == 1:  # a ball looks the same however it is turned: nothing to learn
            self.register_buffer("quats", quats)
        else:
            self.quats = nn.Parameter(quats)
        self.opacity_logits = nn.Parameter(torch.zeros(points, 1))
        self.landmarks: Tensor
        self.register_buffer("landmarks", torch.zeros(landmarks, 3))
        self.code_basis: CodeBasis | None = None

    def add_code_basis(self, rank: int) -> None:
        """Let the shape code act on each point linearly, too; rank 0 does not."""
        self.code_basis = CodeBasis(len(self.means), rank) if rank else None

    def initialise(self, points: StreamPoints, mesh_head: MeshHead) -> None:
        """Take points, landmarks and trained branches from the MeshHead.

        How eyes move is another thing in another variant; that branch then starts anew.
        """
        for name in self.inherited:
            if name == "eye_rotation" and mesh_head.variant != self.variant:
                logger.info("the MeshHead is of variant %s: the rotation of the eyes starts anew", mesh_head.variant)
                continue
            getattr(self, name).load_state_dict(getattr(mesh_head.branches, name).state_dict())
        landmarks = self._own_landmarks(mesh_head.landmarks_3d_neutral)
        with torch.no_grad():
            self.means.copy_(points.means)
            self.features.copy_(torch.atanh(points.features.clamp(-1 + 1e-5, 1 - 1e-5)))
            scales = _neighbour_log_scale(points.means) + float(np.log(self.initial_scale))
            self.log_scales.copy_(scales.expand_as(self.log_scales))
            self.opacity_logits.fill_(float(np.log(self.initial_opacity / (1 - self.initial_opacity))))
            self.landmarks.copy_(landmarks)

    def _own_landmarks(self, landmarks: Tensor) -> Tensor:
        raise NotImplementedError

    def _unit_quats(self, quats: Tensor) -> Tensor:
        """Unit quaternions of raw ones. [B, N, 4]."""
        return nn.functional.normalize(quats, dim=-1)

    def _splat_features(self, features: Tensor) -> Tensor:
        """What is splatted: the first three channels are an image. [B, N, 32]."""
        colors, rest = features.split([COLOR_CHANNELS, features.shape[-1] - COLOR_CHANNELS], dim=-1)
        return torch.cat([torch.sigmoid(colors), rest], dim=-1)

    def _splats(
        self,
        positions: Tensor,
        features: Tensor,
        deltas: Tensor,
        parameters: HeadParameters,
        turn: Tensor | None = None,
    ) -> Gaussians:
        """Finish splats: attribute deltas [B, N, S + 5], a turn of their own (wxyz [B, N, 4]), the rigid head transform."""
        columns = self.log_scales.shape[1]
        scale, quat, opacity = deltas.float().split([columns, 4, 1], dim=-1)
        head = axis_angle_to_quat(parameters.pose[:, :3])[:, None]  # [B, 1, 4]
        opacities = self.opacity_logits + ATTRIBUTE_SCALE * opacity
        if self.code_basis is not None:
            offset, tint, density = self.code_basis(parameters.shape_code)
            positions = positions + offset
            opacities = opacities + density
            features = torch.cat([features[..., :COLOR_CHANNELS] + tint, features[..., COLOR_CHANNELS:]], dim=-1)
        quats = self._unit_quats(self.quats + ATTRIBUTE_SCALE * quat)
        scales = torch.exp(self.log_scales + ATTRIBUTE_SCALE * scale) * parameters.scale[:, None]
        return Gaussians(
            means=head_to_world(positions.float(), parameters.pose, parameters.scale),
            quats=quat_multiply(head if turn is None else quat_multiply(head, turn), quats),
            scales=scales.expand(-1, -1, 3),
            opacities=torch.sigmoid(opacities)[..., 0],
            features=self._splat_features(features.float()),
        )


class EyePoints(Stream):
    """Points of both eyes and the branches that all variants have."""

    inherited: tuple[str, ...] = ("shape_color", "eye_color", "shape_deform", "eye_rotation")

    def __init__(self, mesh_config: MeshHeadModel, points: int) -> None:
        super().__init__(points, 1, sum(map(len, EYE_LANDMARKS)))
        branches = Branches(mesh_config)
        widths = hidden_widths(mesh_config)
        self.shape_color = branches.shape_color
        self.eye_color = branches.eye_color
        self.shape_deform = branches.shape_deform
        self.eye_rotation = branches.eye_rotation
        self.eye_attributes = MLP(POINT_FEATURES + ENCODED_GAZE, widths["eye_attributes"], 6)

    def _own_landmarks(self, landmarks: Tensor) -> Tensor:
        return landmarks[[row for eye in EYE_LANDMARKS for row in eye]]


class EyeStream(EyePoints):
    """Both eyes; each rotates rigidly about its own centre, then expression moves its points."""

    # Not the rotation: a mesh at which no iris is seen leaves it free. It turned eyeballs by 5 to 50 degrees whatever the gaze.
    inherited = ("shape_color", "eye_color", "shape_deform")

    def __init__(self, mesh_config: MeshHeadModel, points: int) -> None:
        super().__init__(mesh_config, points)
        # Ours: colour as a function of the place on the turned eyeball and of the person. Iris and pupil are then learned
        # once, not for every gaze anew, and the lids' points need not move with the ball.
        # The lids cover the ball where the opening, a function of the unturned place, says so.
        width = 2 * mesh_config.eye_mlp_width
        self.eye_texture = MLP(ENCODED_POINT + SHAPE_CODE_DIM, [width] * 2, FEATURE_CHANNELS, SHAPE_CODE_DIM)
        code = SHAPE_CODE_DIM + ENCODED_GAZE
        self.eye_opening = MLP(ENCODED_POINT + code, [width] * 2, 1, code)
        self.side: Tensor
        self.register_buffer("side", torch.zeros(points, dtype=torch.long))  # 0 or 1: which eye

    def initialise(self, points: StreamPoints, mesh_head: MeshHead) -> None:
        """Take points, landmarks and trained branches from the MeshHead."""
        super().initialise(points, mesh_head)
        self.side.copy_(eye_membership(points.means, mesh_head.landmarks_3d_neutral))

    @property
    def centres(self) -> Tensor:
        """Centres of the eyeballs, head frame. [2, 3]."""
        return eyeball_centres(self.landmarks.view(2, -1, 3))

    def eye_positions(self) -> Tensor:
        """Points relative to the centre of their eyeball, in its radii. [N, 3]."""
        return (self.means - self.centres[self.side]) / EYEBALL_RADIUS

    def eyeball_positions(self, gaze: Tensor) -> Tensor:
        """Where points lie on the eyeball that looks along `gaze` [B, 2]; the pupil is at (0, 0, 1). [B, N, 3]."""
        return self.eye_positions() @ gaze_to_matrix(gaze)  # rows: R^T x

    def rotate(self, parameters: HeadParameters) -> tuple[Tensor, Tensor]:
        """Rotated means [B, N, 3] and each point's eye rotation, wxyz [B, N, 4]."""
        quats = eye_quaternions(self.eye_rotation, self.centres, parameters.gaze)  # [B, 2, 4]
        turned = rotate_about(self.means, quats, self.centres)  # [B, 2, N, 3]
        index = self.side.view(1, 1, -1, 1).expand(quats.shape[0], 1, -1, 3)
        return turned.gather(1, index)[:, 0], quats[:, self.side]

    def forward(self, parameters: HeadParameters) -> StreamOutput:
        """Splats of the eyes of B heads."""
        features = to_autocast(torch.tanh(self.features))
        gaze = positional_encoding(parameters.gaze)
        eye_color = conditioned(self.eye_color, features, gaze)
        shape_color = conditioned(self.shape_color, features, parameters.shape_code)
        encoded = positional_encoding(self.eyeball_positions(parameters.gaze))
        texture = conditioned(self.eye_texture, encoded, parameters.shape_code)
        code = torch.cat([parameters.shape_code, gaze], dim=-1)
        opening = torch.sigmoid(conditioned(self.eye_opening, positional_encoding(self.eye_positions()), code))
        colors = opening * texture + (1 - opening) * (eye_color + shape_color)
        deltas = conditioned(self.eye_attributes, features, gaze)
        turned, turn = self.rotate(parameters)
        offset = torch.tanh(conditioned(self.shape_deform, positional_encoding(self.means), parameters.shape_code))
        splats = self._splats(turned + DEFORM_SCALE * offset, colors, deltas, parameters, turn)
        return StreamOutput(splats, eye_color, shape_color, torch.ones_like(self.side, dtype=torch.bool))

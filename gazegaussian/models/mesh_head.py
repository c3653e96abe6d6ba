"""MeshHead: a learned neutral head mesh with branches for expression, head pose and gaze (stage one).

Wei et al. 2025 (GazeGaussian) and Xu et al. 2023 (Gaussian Head Avatar), in the variant `default`: each eye rotates about its
own centre. The variant `released`: `gazegaussian.models.published`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
import trimesh
from torch import Tensor, nn

from gazegaussian.config import MeshHeadModel
from gazegaussian.errors import NonFiniteError
from gazegaussian.geometry.heads import head_ellipsoid, head_to_world
from gazegaussian.geometry.rotations import full_precision, rotate_about
from gazegaussian.geometry.tetrahedra import BOX_MAX, BOX_MIN, MarchingTetrahedra, Surface, TetrahedralGrid
from gazegaussian.models.branches import (
    BOTH_EYES,
    DEFORM_SCALE,
    ENCODED_POINT,
    EYE_FAR,
    EYE_NEAR,
    POINT_FEATURES,
    SHAPE_FAR,
    SHAPE_NEAR,
    Branches,
    Reach,
    eye_quaternions,
    eyeball_centres,
    falloff,
    hidden_widths,
    nearest_squared,
)
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.nn.mlp import MLP
from gazegaussian.types import HeadParameters
from gazegaussian.utils.constants import constant

WARM_START_POINTS = 4096
WARM_START_LR = 0.64  # over the width: twice as much is still stable at all widths from 32 to 256 (5 seeds each)
CORE = 0.5  # of the ellipsoid's radii: what lies nearer to its centre is always inside the head
GRID_CHUNK = 1 << 17
BAND = 3  # grid steps around the surface within which a training on CUDA looks where it has moved to
FULL_PASS = 20  # steps after which it looks everywhere again: what appears elsewhere is seen so much later at most


@dataclass(frozen=True)
class NeutralMesh:
    """The head without expression, pose or gaze; head frame."""

    vertices: Tensor  # [V, 3]
    faces: Tensor  # [F, 3]
    features: Tensor  # [V, 128] in (-1, 1)


@dataclass(frozen=True)
class MeshHeadOutput:
    """Posed heads that share one topology."""

    vertices: Tensor  # [B, V, 3] world
    faces: Tensor  # [F, 3]
    colors: Tensor  # [B, V, 32]
    landmarks: Tensor  # [B, L, 3] world
    neutral_vertices: Tensor  # [V, 3] head frame
    displacement: Tensor  # [B, V, 3] what expression, pose and gaze added, head frame
    landmark_sdf: Tensor  # [L] signed distance at the neutral landmarks


@dataclass(frozen=True)
class Influence:
    """Weights in [0, 1] of who acts on N neutral points."""

    shape: Tensor  # [N, 1] expression and identity; head pose takes the rest
    eyes: Tensor  # [2, N, 1] rotation and colour of each eye


@dataclass(frozen=True)
class _Fit:
    """A geometry network that was fitted to an ellipsoid."""

    key: bytes
    geometry: dict[str, Tensor]
    residual: float


_last_fit: _Fit | None = None


class MeshHead(nn.Module):
    """Neutral geometry as a signed distance field on a tetrahedral grid, and the branches.

    Args:
        config: Grid resolution, widths, number of landmarks.
    """

    variant = "default"
    eye_reach = (EYE_NEAR, EYE_FAR)  # squared distances between which the eyes' influence falls from 1 to 0

    def __init__(self, config: MeshHeadModel) -> None:
        super().__init__()
        assert config.variant == self.variant, "build_mesh_head picks the class"
        self.config = config
        self.grid = TetrahedralGrid(config.grid_resolution)
        self.geometry = MLP(ENCODED_POINT, hidden_widths(config)["geometry"], 1 + 3 + POINT_FEATURES)
        self.branches = Branches(config)
        self.landmarks_3d_neutral = nn.Parameter(torch.zeros(config.landmarks, 3))
        self._kept: Tensor | None = None  # signed distances of the steps before
        self._kept_for = 0  # steps

    @torch.no_grad()
    def initialise_landmarks(self, landmarks: Tensor) -> None:
        """Set the neutral landmarks, head frame. [L, 3]."""
        self.landmarks_3d_neutral.copy_(landmarks)

    def query(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the geometry network.

        Args:
            points: Head frame, model units. [..., 3]

        Returns:
            Signed distance [...] (negative inside, bounded by 1), offset [..., 3] (at most a cell), features [..., 128].
        """
        sdf, offset, features = torch.tanh(self.geometry(positional_encoding(points))).split([1, 3, POINT_FEATURES], -1)
        return self._bounded(sdf[..., 0], points), self._offset(offset), features

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance alone, as in `query`, without the network's other outputs. [..., 3] -> [...]."""
        return self._bounded(torch.tanh(self.geometry(positional_encoding(points), outputs=1)[..., 0]), points)

    def _offset(self, output: Tensor) -> Tensor:
        """Offset of a grid point, model units, from the network's output in (-1, 1). [..., 3]."""
        return output / self.config.grid_resolution

    def _bounded(self, sdf: Tensor, points: Tensor) -> Tensor:
        """Union with the head's core, intersection with the grid's box: a surface exists whatever the network says.

        At high learning rates the network can lose its zero level, and with it every gradient that could bring it back.
        """
        centre, radii = head_ellipsoid(self.landmarks_3d_neutral.detach())
        core = (((points - centre) / radii).norm(dim=-1) - CORE) * radii.min()
        low = constant(BOX_MIN, points)
        high = constant(BOX_MAX, points)
        cell = (high - low) / self.config.grid_resolution
        box = torch.maximum(low + cell - points, points - high + cell).amax(-1)
        return torch.maximum(torch.minimum(sdf, core), box).clamp(max=1)

    def warm_start(self, steps: int, seed: int = 0) -> float:
        """Fit the signed distance to an ellipsoid around the landmarks.

        The last fit of this process is kept: trainings that begin with the same geometry, as the trials of a study do, copy it.

        Args:
            steps: Of Adam, 4096 points each: half of them anywhere in the box, half near the ellipsoid.
            seed: Of the points.

        Returns:
            Mean absolute residual of the last step, model units.
        """
        global _last_fit
        key = self._fit_key(steps, seed)
        if _last_fit is None or _last_fit.key != key:
            residual = self._fit(steps, seed)
            state = {name: tensor.detach().clone() for name, tensor in self.geometry.state_dict().items()}
            _last_fit = _Fit(key, state, residual)
        self.geometry.load_state_dict(_last_fit.geometry)
        return _last_fit.residual

    def _fit_key(self, steps: int, seed: int) -> bytes:
        """Digest of all that a fit depends on, down to its last bits."""
        tensors = [*self.geometry.state_dict().values(), self.landmarks_3d_neutral]
        scalars = (steps, seed, self.variant, self.config.grid_resolution, torch.get_num_threads(), tensors[0].device)
        digest = hashlib.sha256(repr(scalars).encode())
        for tensor in tensors:
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.digest()

    def _fit(self, steps: int, seed: int) -> float:
        """Do what `warm_start` says."""
        device = self.landmarks_3d_neutral.device
        centre, radii = head_ellipsoid(self.landmarks_3d_neutral.detach().cpu())
        generator = torch.Generator().manual_seed(seed)
        box_low = torch.tensor(BOX_MIN)
        box_high = torch.tensor(BOX_MAX)
        optimizer = torch.optim.Adam(self.geometry.parameters(), WARM_START_LR / max(self.config.geometry_width, 64))
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, max(steps, 1))
        half = WARM_START_POINTS // 2
        residual = torch.zeros(())
        for _ in range(steps):
            anywhere = torch.rand(half, 3, generator=generator) * (box_high - box_low) + box_low
            shell = nn.functional.normalize(torch.randn(half, 3, generator=generator), dim=-1)
            near = centre + radii * shell * (1 + 0.2 * torch.randn(half, 1, generator=generator))
            points = torch.cat([anywhere, near])
            target = torch.tanh((((points - centre) / radii).norm(dim=-1) - 1) * radii.min()).to(device)
            sdf, offset, _ = self.query(points.to(device))
            residual = (sdf - target).abs().mean()
            optimizer.zero_grad(set_to_none=True)
            ((sdf - target).square().mean() + 0.01 * offset.square().mean()).backward()
            optimizer.step()
            decay.step()
        optimizer.zero_grad(set_to_none=True)
        return residual.item()

    def _tetrahedra(self) -> MarchingTetrahedra:
        device = self.landmarks_3d_neutral.device
        if self.grid.points.device != device:
            self.grid.to(device)
        return self.grid

    @torch.no_grad()
    def _distances(self, grid: MarchingTetrahedra) -> Tensor:
        """Signed distances at all grid points, of which only the signs are needed. [P]

        The surface moves by a small part of a cell in a step, so a training on CUDA, where this pass is most of a step's
        memory traffic, evaluates the points near the last surface and keeps the others for a few steps.
        """
        by_band = isinstance(grid, TetrahedralGrid) and self.training and grid.points.device.type == "cuda"
        if by_band and self._kept is not None and self._kept_for < FULL_PASS:
            near = grid.near  # type: ignore[attr-defined]
            self._kept_for += 1
            return self._kept.index_copy_(0, near, self._chunks(grid.points[near]))
        sdf = self._chunks(grid.points)
        self._kept = sdf if by_band else None
        self._kept_for = 0
        if isinstance(grid, TetrahedralGrid):
            grid.reach = BAND if by_band else 0
        return sdf

    def _chunks(self, points: Tensor) -> Tensor:
        """Signed distances, in chunks that bound the memory. [N, 3] -> [N]."""
        return torch.cat([self.distance(rows) for rows in points.split(GRID_CHUNK)])

    def train(self, mode: bool = True) -> MeshHead:
        """Switch between training and evaluation; either begins with a look at the whole grid."""
        self._kept = None
        return super().train(mode)

    def _extract(self, grid: MarchingTetrahedra) -> tuple[Surface, Tensor]:
        """Surface and its vertices' features."""
        sdf = self._distances(grid)
        queried: dict[str, Tensor] = {}

        def refine(rows: Tensor) -> tuple[Tensor, Tensor]:
            points = grid.points[rows]
            distance, offset, queried["features"] = self.query(points)
            return distance, points + offset

        surface = grid.extract(sdf, refine)
        if len(surface.faces) == 0:
            raise NonFiniteError("The MeshHead's signed distance is not finite, so there is no mesh. Lower lr.")
        features = (queried["features"][surface.edges] * surface.weights[..., None]).sum(1)
        return surface, features

    def neutral_mesh(self) -> NeutralMesh:
        """Extract the neutral head."""
        surface, features = self._extract(self._tetrahedra())
        return NeutralMesh(surface.vertices, surface.faces, features)

    def forward(self, parameters: HeadParameters) -> MeshHeadOutput:
        """Pose the head.

        Args:
            parameters: Of B samples.

        Returns:
            Vertices, colours and landmarks of every sample on one topology.
        """
        with full_precision(self.landmarks_3d_neutral):
            neutral = self.neutral_mesh()
            landmark_sdf = self.query(self.landmarks_3d_neutral)[0]
        count = len(neutral.vertices)
        moved, colors = self._act(neutral, parameters)
        world = head_to_world(moved.float(), parameters.pose, parameters.scale)
        return MeshHeadOutput(
            vertices=world[:, :count],
            faces=neutral.faces,
            colors=colors.float(),
            landmarks=world[:, count:],
            neutral_vertices=neutral.vertices,
            displacement=moved[:, :count] - neutral.vertices,
            landmark_sdf=landmark_sdf,
        )

    def _act(self, neutral: NeutralMesh, parameters: HeadParameters) -> tuple[Tensor, Tensor]:
        """Deformed vertices, then landmarks [B, V + L, 3], head frame, and colours of the vertices [B, V, 32]."""
        points = torch.cat([neutral.vertices, self.landmarks_3d_neutral])
        count = len(neutral.vertices)
        influence = self._influence(points)
        moved, _ = self._deform(points, influence, parameters)
        on_mesh = Influence(influence.shape[:count], influence.eyes[:, :count])
        return moved, self._color(neutral.features, on_mesh, parameters)

    @torch.no_grad()
    def _influence(self, points: Tensor) -> Influence:
        """Who moves and colours neutral points [N, 3]; constants of the optimisation."""
        landmarks = self.landmarks_3d_neutral
        shape = falloff(nearest_squared(points, landmarks), SHAPE_NEAR, SHAPE_FAR)
        eyes = [falloff(nearest_squared(points, eye), *self.eye_reach) for eye in landmarks[BOTH_EYES].view(2, -1, 3)]
        return Influence(shape[:, None], torch.stack(eyes)[..., None])

    def deform(self, points: Tensor, parameters: HeadParameters) -> tuple[Tensor, Tensor]:
        """Apply expression, head pose and eye rotation to neutral points.

        Args:
            points: Head frame. [N, 3]
            parameters: Of B samples.

        Returns:
            Deformed points [B, N, 3] and what was added to the neutral ones [B, N, 3], head frame.
        """
        return self._deform(points, self._influence(points), parameters)

    def _deform(self, points: Tensor, influence: Influence, parameters: HeadParameters) -> tuple[Tensor, Tensor]:
        shape = Reach(influence.shape, parameters.shape_code)
        offset = torch.tanh(shape.of(self.branches.shape_deform, positional_encoding(points)))
        moved = points + DEFORM_SCALE * shape.weighted(offset)
        pose = Reach(1 - influence.shape, positional_encoding(parameters.pose))
        offset = torch.tanh(pose.of(self.branches.pose_deform, positional_encoding(moved)))
        moved = moved + DEFORM_SCALE * pose.weighted(offset)
        moved = self._move_eyes(moved, influence, parameters.gaze)
        return moved, moved - points

    def _move_eyes(self, moved: Tensor, influence: Influence, gaze: Tensor) -> Tensor:
        """Rotate each eye's part of the points [B, N, 3] about its own centre."""
        centres = eyeball_centres(self.landmarks_3d_neutral[BOTH_EYES].view(2, -1, 3))
        quats = eye_quaternions(self.branches.eye_rotation, centres, gaze)
        for i, weight in enumerate(influence.eyes):
            moved = moved + weight * (rotate_about(moved, quats[:, i], centres[i]) - moved)
        return moved

    def color(self, points: Tensor, features: Tensor, parameters: HeadParameters) -> Tensor:
        """Colours and feature channels of neutral points. [N, 3], [N, 128] -> [B, N, 32]."""
        return self._color(features, self._influence(points), parameters)

    def _color(self, features: Tensor, influence: Influence, parameters: HeadParameters) -> Tensor:
        shape = Reach(influence.shape, parameters.shape_code)
        pose = Reach(1 - influence.shape, positional_encoding(parameters.pose))
        eye_weight = influence.eyes.amax(0)
        eyes = Reach(eye_weight, positional_encoding(parameters.gaze))
        skin = shape.weighted(torch.sigmoid(shape.of(self.branches.shape_color, features)))
        skin = skin + pose.weighted(torch.sigmoid(pose.of(self.branches.pose_color, features)))
        eye = eyes.spread(torch.sigmoid(eyes.of(self.branches.eye_color, features)))
        return self._blend(skin, eye, eye_weight)

    def _blend(self, skin: Tensor, eye: Tensor, eye_weight: Tensor) -> Tensor:
        """Eye colour instead of skin colour; the published sum can exceed 1. [B, N, 32]."""
        return skin * (1 - eye_weight) + eye * eye_weight

    @torch.no_grad()
    def export_neutral(self, path: Path, parameters: HeadParameters | None = None) -> Path:
        """Write the neutral mesh (PLY or OBJ by suffix), coloured by the first sample of `parameters`."""
        neutral = self.neutral_mesh()
        colors = None
        if parameters is not None:
            rgb = self.color(neutral.vertices, neutral.features, parameters)[0, :, :3]
            colors = (rgb.clamp(0, 1) * 255).byte().cpu().numpy()
        corners = neutral.vertices.cpu().numpy()
        mesh = trimesh.Trimesh(corners, neutral.faces.cpu().numpy(), vertex_colors=colors, process=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        mesh.export(path)
        return path

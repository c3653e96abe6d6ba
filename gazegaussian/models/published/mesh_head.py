"""MeshHead as published: eyes rotate about the origin, their colour is added, offsets are tanh'ed twice.

Gaze acts on all points within half a model unit of an eye's landmarks, one eye after the other, so that the second
rotation sees what the first did.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gazegaussian.config import MeshHeadModel
from gazegaussian.geometry.rotations import full_precision, quat_to_matrix
from gazegaussian.geometry.tetrahedra import MarchingTetrahedra, TetrahedralGrid
from gazegaussian.geometry.tetrahedral_mesh import TetrahedralMesh
from gazegaussian.models.branches import DEFORM_SCALE, SHAPE_FAR, SHAPE_NEAR, conditioned
from gazegaussian.models.mesh_head import Influence, MeshHead, NeutralMesh
from gazegaussian.nn.encoding import positional_encoding
from gazegaussian.types import HeadParameters


class PublishedMeshHead(MeshHead):
    """MeshHead of the released code.

    The tetrahedra are those of the checkpoint, `tet_verts` and `tets`; without any, a regular grid is used.

    Args:
        config: Grid resolution (it bounds the offsets, too), widths, number of landmarks.
    """

    variant = "released"
    eye_reach = (SHAPE_NEAR, SHAPE_FAR)

    def __init__(self, config: MeshHeadModel) -> None:
        super().__init__(config)
        self.tet_verts: Tensor
        self.tets: Tensor
        self.register_buffer("tet_verts", torch.zeros(0, 3))
        self.register_buffer("tets", torch.zeros(0, 4, dtype=torch.int32))
        self._cells = config.grid_resolution
        prefer_no_turn(self.branches.eye_rotation)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for name in ("tet_verts", "tets"):  # as many as the checkpoint has
            stored = state_dict.get(prefix + name)
            if stored is not None:
                own = getattr(self, name)
                setattr(self, name, own.new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _offset(self, output: Tensor) -> Tensor:
        return torch.tanh(output) / self._cells

    def _bounded(self, sdf: Tensor, points: Tensor) -> Tensor:
        return sdf

    def _tetrahedra(self) -> MarchingTetrahedra:
        return TetrahedralMesh(self.tet_verts, self.tets) if len(self.tets) else super()._tetrahedra()

    def subdivided_mesh(self, times: int) -> NeutralMesh:
        """Extract the neutral head on a finer grid, whose points move by no more than its own cells.

        Args:
            times: How often every tetrahedron is split into eight.
        """
        grid = self._tetrahedra()
        for _ in range(times):
            if isinstance(grid, TetrahedralMesh):
                grid = grid.subdivided()
            else:
                assert isinstance(grid, TetrahedralGrid)
                grid = TetrahedralGrid(2 * grid.resolution)
                grid.to(self.landmarks_3d_neutral.device)
        self._cells = self.config.grid_resolution << times
        try:
            surface, features = self._extract(grid)
        finally:
            self._cells = self.config.grid_resolution
        return NeutralMesh(surface.vertices, surface.faces, features)

    def _act(self, neutral: NeutralMesh, parameters: HeadParameters) -> tuple[Tensor, Tensor]:
        influence = self._influence(neutral.vertices)
        vertices, _ = self._deform(neutral.vertices, influence, parameters)
        landmarks = self.deform_landmarks(self.landmarks_3d_neutral, parameters.shape_code)
        return torch.cat([vertices, landmarks], dim=1), self._color(neutral.features, influence, parameters)

    def deform_landmarks(self, points: Tensor, shape_code: Tensor) -> Tensor:
        """Move landmarks: by their own offset, then by expression with full weight; neither pose nor gaze act.

        Args:
            points: Head frame. [L, 3] or [B, L, 3]
            shape_code: [B, 144]

        Returns:
            Head frame. [B, L, 3]
        """
        points = points + self.query(points)[1]
        offset = conditioned(self.branches.shape_deform, positional_encoding(points), shape_code)
        return points + DEFORM_SCALE * torch.tanh(offset)

    def _move_eyes(self, moved: Tensor, influence: Influence, gaze: Tensor) -> Tensor:
        if self.config.eye_motion == "offset":
            return offset_eyes(moved, influence.eyes.amax(0), self.branches.eye_rotation, gaze)
        for weight in influence.eyes:
            moved = rotate_about_origin(moved, weight > 0, self.branches.eye_rotation, gaze)
        return moved

    def _blend(self, skin: Tensor, eye: Tensor, eye_weight: Tensor) -> Tensor:
        return skin + eye * eye_weight


def prefer_no_turn(eye_rotation: nn.Module) -> None:
    """Let a fresh network's quaternion start near the identity; the published one starts anywhere."""
    bias = eye_rotation.layers[-1].bias  # type: ignore[union-attr, index]
    if len(bias) == 4:  # type: ignore[arg-type]
        with torch.no_grad():
            bias[0] = 1.0  # type: ignore[index]


def rotate_about_origin(points: Tensor, member: Tensor, eye_rotation: nn.Module, gaze: Tensor) -> Tensor:
    """Rotate the members among points about the origin of the head frame.

    Args:
        points: Head frame. [B, N, 3]
        member: Who rotates; the mean of these points is the network's input. [N, 1] bool
        eye_rotation: MLP over [encoded mean, encoded gaze], gives a quaternion wxyz of any length.
        gaze: Pitch and yaw (rad). [B, 2]

    Returns:
        Points. [B, N, 3]
    """
    with full_precision(points):
        mean = (points * member).sum(1, keepdim=True) / member.sum().clamp_min(1)  # [B, 1, 3]
        quats = conditioned(eye_rotation, positional_encoding(mean), positional_encoding(gaze))
        rotation = quat_to_matrix(nn.functional.normalize(quats[:, 0].to(points.dtype), dim=-1))  # [B, 3, 3]
        return torch.where(member, points @ rotation.transpose(1, 2), points)


def offset_eyes(points: Tensor, weight: Tensor, eye_offset: nn.Module, gaze: Tensor) -> Tensor:
    """Move every point by its own offset. [B, N, 3], [N, 1], MLP over [encoded point, encoded gaze], [B, 2]."""
    offset = conditioned(eye_offset, positional_encoding(points), positional_encoding(gaze))
    return points + DEFORM_SCALE * weight * torch.tanh(offset)

"""The conditional branches that MeshHead trains and the Gaussian streams inherit, and who influences which point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gazegaussian.config import MeshHeadModel
from gazegaussian.dimensions import FEATURE_CHANNELS, SHAPE_CODE_DIM
from gazegaussian.geometry.grid_topology import compact
from gazegaussian.geometry.rotations import full_precision
from gazegaussian.nn.encoding import encoded_dim, positional_encoding
from gazegaussian.nn.mlp import MLP
from gazegaussian.utils.constants import constant

POINT_FEATURES = 128
DEFORM_SCALE = 0.3
NO_TURN = (1.0, 0.0, 0.0, 0.0)  # the unit quaternion
TURN_SCALE = 0.3  # largest quaternion component that gaze adds: about 35 degrees
ENCODED_POINT = encoded_dim(3)
ENCODED_POSE = encoded_dim(6)
ENCODED_GAZE = encoded_dim(2)
EYE_DEPTH = 0.14  # centre of the eyeball behind the middle of its landmarks, model units
EYE_LANDMARKS = (tuple(range(36, 42)), tuple(range(42, 48)))  # image-left eye, image-right eye
BOTH_EYES = slice(36, 48)  # the same, one after the other

# Squared distances between which an influence falls from 1 to 0. Expression: published. Eye: ours, an eye's own size.
SHAPE_NEAR = 0.1
SHAPE_FAR = 0.25
EYE_NEAR = 0.01
EYE_FAR = 0.05


def nearest_squared(points: Tensor, landmarks: Tensor) -> Tensor:
    """Squared distance to the nearest landmark. [N, 3], [L, 3] -> [N].

    On CUDA by one matrix product, |p|^2 - 2 p l + |l|^2, which moves an eighth of the bytes and is right to about 1e-6.
    """
    if points.device.type == "cuda":
        with full_precision(points):
            products = torch.addmm(landmarks.square().sum(1), points, landmarks.T, alpha=-2.0)  # [N, L]
            return (products.amin(1) + points.square().sum(1)).clamp_min(0)
    x, y, z = ((a[:, None] - b[None]).square() for a, b in zip(points.unbind(1), landmarks.unbind(1), strict=True))
    return (x + y + z).amin(1)  # [N, L] three times: much faster than [N, L, 3], whose last dimension is short


def falloff(squared: Tensor, near: float, far: float) -> Tensor:
    """1 below `near`, 0 above `far`, linear between (both squared distances)."""
    return ((far - squared) / (far - near)).clamp(0, 1)


def hidden_widths(config: MeshHeadModel) -> dict[str, list[int]]:
    """Hidden widths of every network of both stages."""
    shape = config.shape_mlp_width
    pose = config.pose_mlp_width
    eye = config.eye_mlp_width
    usual = {
        "geometry": [config.geometry_width] * 5,
        "shape_color": [shape] * 2,
        "pose_color": [pose // 2],
        "eye_color": [eye],
        "shape_deform": [shape] * 5,
        "pose_deform": [pose] * 2,
        "eye_rotation": [eye] * 2,
        "shape_attributes": [shape] * 3,
        "pose_attributes": [pose // 2] * 2,
        "eye_attributes": [eye] * 2,
    }
    return {**usual, **{name: list(widths) for name, widths in config.mlp_widths.items()}}


class Branches(nn.Module):
    """Colour, deformation and eye rotation networks; hidden widths come from the configuration."""

    def __init__(self, config: MeshHeadModel) -> None:
        super().__init__()
        widths = hidden_widths(config)
        code = SHAPE_CODE_DIM
        self.shape_color = MLP(POINT_FEATURES + code, widths["shape_color"], FEATURE_CHANNELS, code)
        self.pose_color = MLP(POINT_FEATURES + ENCODED_POSE, widths["pose_color"], FEATURE_CHANNELS)
        self.eye_color = MLP(POINT_FEATURES + ENCODED_GAZE, widths["eye_color"], FEATURE_CHANNELS)
        self.shape_deform = MLP(ENCODED_POINT + code, widths["shape_deform"], 3, code)
        self.pose_deform = MLP(ENCODED_POINT + ENCODED_POSE, widths["pose_deform"], 3)
        outputs = 4 if config.eye_motion == "rotate" else 3
        self.eye_rotation = MLP(ENCODED_POINT + ENCODED_GAZE, widths["eye_rotation"], outputs)
        with torch.no_grad():  # start near the neutral head
            for branch in (self.shape_deform, self.pose_deform, self.eye_rotation):
                last = branch.layers[-1]
                assert isinstance(last, nn.Linear)
                last.weight *= 0.1
                last.bias.zero_()


def conditioned(branch: nn.Module, points: Tensor, condition: Tensor) -> Tensor:
    """Evaluate a branch for every point of every sample.

    Args:
        branch: MLP over [point part, condition].
        points: Point part, shared [N, D] or per sample [B, N, D].
        condition: One vector per sample. [B, C]

    Returns:
        Outputs. [B, N, K]
    """
    return branch(points, condition)


def finds_rows(device: torch.device) -> bool:
    """Tell whether rows are worth finding without being asked: a GPU would have to wait for their number."""
    return device.type == "cpu"


def rows_of(weights: Sequence[Tensor]) -> list[Tensor]:
    """Find the rows of several weights [N, 1] that are not zero; on CUDA the host waits once, for all their numbers."""
    kept = [weight[:, 0] > 0 for weight in weights]
    if kept[0].device.type == "cpu":
        return [torch.nonzero(mask)[:, 0] for mask in kept]
    return [compact(mask, count)[0] for mask, count in zip(kept, _counts(kept), strict=True)]


def _counts(kept: Sequence[Tensor]) -> list[int]:
    """Numbers of true entries: the one wait of `rows_of`."""
    return torch.stack([mask.sum() for mask in kept]).tolist()


class Reach:
    """The points that a condition acts on: a branch is computed for these alone, the others have weight zero.

    Where finding the points does not pay (`finds_rows`), all of them are computed.

    Args:
        weight: Of the condition at every point. [N, 1]
        condition: One vector per sample. [B, C]
        rows: The points, found before. [R]
    """

    def __init__(self, weight: Tensor, condition: Tensor, rows: Tensor | None = None) -> None:
        if rows is None and finds_rows(weight.device):
            (rows,) = rows_of([weight])
        self.rows = rows
        self.points = len(weight)
        self.weight = weight if self.rows is None else weight[self.rows]
        self.condition = condition

    def of(self, branch: nn.Module, points: Tensor) -> Tensor:
        """Outputs of a branch at the reached points. [N, D] or [B, N, D] -> [B, R, K]."""
        reached = points if self.rows is None else points.index_select(-2, self.rows)
        return conditioned(branch, reached, self.condition)

    def weighted(self, values: Tensor) -> Tensor:
        """Values [B, R, K] times their weight, zero elsewhere. [B, N, K]."""
        return self.spread(self.weight * values)

    def spread(self, values: Tensor) -> Tensor:
        """Values [B, R, K] at their points, zero elsewhere. [B, N, K]."""
        if self.rows is None:
            return values
        everywhere = values.new_zeros(values.shape[0], self.points, values.shape[2])
        return everywhere.index_copy_(1, self.rows, values)

    def added(self, total: Tensor, values: Tensor) -> Tensor:
        """Total [B, N, K], which is written to, plus the weighted values [B, R, K]. [B, N, K]."""
        weighted = self.weight * values
        return total + weighted if self.rows is None else total.index_add_(1, self.rows, weighted)


def eyeball_centres(rims: Tensor) -> Tensor:
    """Centres of the eyeballs, behind the middle of their landmarks; head frame. [2, 6, 3] -> [2, 3]."""
    return rims.mean(1) - constant((0.0, 0.0, EYE_DEPTH), rims)


def eye_quaternions(eye_rotation: nn.Module, centres: Tensor, gaze: Tensor) -> Tensor:
    """Predict each eye's rotation, near the identity at first.

    Args:
        eye_rotation: MLP over [encoded centre, encoded gaze].
        centres: Eye centres, head frame. [2, 3]
        gaze: Pitch and yaw (rad). [B, 2]

    Returns:
        Unit quaternions wxyz. [B, 2, 4]
    """
    raw = conditioned(eye_rotation, positional_encoding(centres), positional_encoding(gaze))
    raw = raw.to(centres.dtype)  # rotations stay in full precision under autocast
    return nn.functional.normalize(constant(NO_TURN, raw) + TURN_SCALE * torch.tanh(raw), dim=-1)

"""Head poses of data sets that have none: the model's neutral landmarks fitted to the landmarks in the image.

Only landmarks that keep still under expression and gaze are used. An image does not tell a small near head from a large far
one; of those, the head whose middle is nearest to the world's origin is taken, where the training data have theirs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from gazegaussian.geometry.published import centred
from gazegaussian.models.branches import EYE_LANDMARKS
from gazegaussian.models.eye_crop import STEADY_LANDMARKS
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.types import Batch, Cameras

LANDMARKS = 68
OUTLIER = 0.01  # residual, in image sizes, from which a landmark counts less: jaw landmarks slide in side views


def neutral_landmarks(model: GazeGaussian) -> Tensor:
    """Put a model's 68 neutral landmarks in order again, head frame. [68, 3]."""
    eyes = [row for eye in EYE_LANDMARKS for row in eye]
    rest = [row for row in range(LANDMARKS) if row not in eyes]
    landmarks = model.face.landmarks.new_empty(LANDMARKS, 3)
    landmarks[eyes] = model.eyes.landmarks
    landmarks[rest] = model.face.landmarks[: len(rest)]
    return landmarks.cpu()


def with_fitted_poses(model: GazeGaussian, batch: Batch) -> tuple[Batch, Tensor]:
    """Give a batch of a data set without head poses the fitted ones.

    Args:
        model: Brings its neutral landmarks and its idea of the principal point.
        batch: On the CPU.

    Returns:
        The batch with pose and scale, and the median distance of the landmarks in pixels [B].
    """
    pose, scale, residual = fit_poses(model, batch.landmarks_2d, batch.cameras)
    return replace(batch, parameters=replace(batch.parameters, pose=pose, scale=scale)), residual


def fit_poses(model: GazeGaussian, landmarks_2d: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Fit head poses to landmarks, least squares of the projection error.

    Args:
        model: Brings its neutral landmarks and its idea of the principal point.
        landmarks_2d: Pixels, pixel centres at integers. [B, 68, 2]
        cameras: One per row.

    Returns:
        Head to world (axis-angle in rad, translation) [B, 6] with the head's origin as near to the world's as the image
        allows, scale [B, 1], and the median distance of the landmarks in pixels [B].
    """
    if model.variant == "released":
        cameras = centred(cameras)
    points = neutral_landmarks(model)[list(STEADY_LANDMARKS)].double().numpy()
    fits = []
    for pixels, inside, turn, shift in zip(
        landmarks_2d[:, list(STEADY_LANDMARKS)].double().numpy(),
        cameras.intrinsics.double().numpy(),
        cameras.rotation.double().numpy(),
        cameras.translation.double().numpy(),
        strict=True,
    ):
        focal = np.array([inside[0, 0], inside[1, 1]])
        plane = (pixels + 0.5 - inside[:2, 2]) / focal  # x / z, y / z
        rotation, translation, errors = _fit(points, plane, OUTLIER * cameras.width / focal[0])
        nearest = (translation @ shift) / (translation @ translation)
        scale = nearest if nearest > 0 else 1.0
        pose = np.concatenate(
            [Rotation.from_matrix(turn.T @ rotation).as_rotvec(), turn.T @ (scale * translation - shift)]
        )
        fits.append((pose, scale, np.median(np.linalg.norm(errors * focal, axis=1))))
    poses, scales, residuals = (torch.from_numpy(np.array(column)).float() for column in zip(*fits, strict=True))
    return poses, scales[:, None], residuals


def _fit(points: NDArray, plane: NDArray, outlier: float) -> tuple[NDArray, NDArray, NDArray]:
    """Head to camera for points [N, 3] seen at `plane` [N, 2]: rotation [3, 3], translation [3], residuals [N, 2]."""
    begin, translation = _from_afar(points, plane)

    def errors(change: NDArray) -> NDArray:
        seen = points @ (begin @ Rotation.from_rotvec(change[:3]).as_matrix()).T + change[3:]
        return (seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) - plane).ravel()

    fitted = least_squares(errors, np.concatenate([np.zeros(3), translation]), loss="soft_l1", f_scale=outlier).x
    rotation = begin @ Rotation.from_rotvec(fitted[:3]).as_matrix()
    return rotation, fitted[3:], errors(fitted).reshape(-1, 2)


def _from_afar(points: NDArray, plane: NDArray) -> tuple[NDArray, NDArray]:
    """Pose under scaled orthographic projection, linear and without a first guess (DeMenthon and Davis 1995)."""
    affine = np.linalg.lstsq(np.c_[points, np.ones(len(points))], plane, rcond=None)[0].T  # [2, 4]
    rows = affine[:, :3]
    u, size, v = np.linalg.svd(rows, full_matrices=False)
    first_two = u @ v
    depth = 1 / max(size.mean(), 1e-9)
    return np.vstack([first_two, np.cross(first_two[0], first_two[1])]), depth * np.append(affine[:, 3], 1.0)

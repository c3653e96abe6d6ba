"""The fixed rig of the synthetic heads: 18 cameras on a sphere around the face, each with its own light.

World frame: x right of the image of camera 0, y up, z towards camera 0, as in the fixtures of the published format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

# Yaw (to the image right of camera 0) and pitch (up) of the cameras in degrees; the frontal one first, then spread.
_ANGLES = [
    (0, 0), (-28, 8), (28, 8), (-50, 0), (50, 0), (0, 22), (0, -20), (-30, -18), (30, -18),
    (-14, 14), (14, 14), (-45, 20), (45, 20), (-14, -10), (14, -10), (-38, -6), (38, -6), (-22, 25),
]  # fmt: skip
CAMERAS = len(_ANGLES)
_TARGET = np.array([0.0, 0.03, -0.15])  # world point in the middle of every image
_FOCAL = 3.6  # of the image width, at distance 11: an image is 3.05 units high
_DISTANCE = 11.0


@dataclass(frozen=True)
class Light:
    """One soft key light and a sky."""

    direction: FloatArray  # [3] unit, towards the light, camera frame
    strength: float
    ambient: float
    tint: NDArray[np.float32]  # [3]


@dataclass(frozen=True)
class RigCamera:
    """One camera of the rig."""

    rotation: FloatArray  # [3, 3] world to camera
    translation: FloatArray  # [3]
    focal: float  # of the image width
    light: Light


def rig_camera(index: int) -> RigCamera:
    """Return camera `index` (0 to 17); light depends on the index alone, so it is the same for everyone."""
    yaw, pitch = np.radians(_ANGLES[index])
    distance = _DISTANCE + 0.9 * np.sin(2.4 * index)
    back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    rotation = np.stack([right, np.cross(right, back), -back])  # x right, y down, z forward
    translation = -rotation @ (_TARGET + distance * back)
    return RigCamera(rotation, translation, _FOCAL * distance / _DISTANCE, _light(index))


def chosen_cameras(seed: int, frame: int, count: int) -> list[int]:
    """Choose cameras that see a frame, spread over the rig.

    The cameras are ordered by their yaw and taken at equal steps from a first one that differs between frames. In 18
    frames that follow each other (from a multiple of 18), every camera is chosen `count` times.

    Args:
        seed: Of the data set.
        frame: Number of the frame, counted over all people.
        count: How many, 1 to 18.

    Returns:
        Camera numbers in ascending order. [count]
    """
    block, position = divmod(frame, CAMERAS)
    first = int(np.random.default_rng([seed, block, CAMERAS]).permutation(CAMERAS)[position])
    by_yaw = sorted(range(CAMERAS), key=lambda camera: _ANGLES[camera])
    return sorted(by_yaw[(first + step * CAMERAS // count) % CAMERAS] for step in range(count))


def _light(index: int) -> Light:
    turn = 2 * np.pi * ((0.13 + 0.618034 * index) % 1)
    direction = np.array([0.55 * np.cos(turn), -0.42 + 0.22 * np.sin(turn), -1.0])  # above the camera, to one side
    warm = 0.5 * np.sin(1.7 * index)
    return Light(
        direction=direction / np.linalg.norm(direction),
        strength=0.60 + 0.07 * math.cos(2.1 * index),
        ambient=0.44 + 0.03 * math.sin(0.9 * index),
        tint=np.array([1 + 0.04 * warm, 1.0, 1 - 0.05 * warm], np.float32),
    )

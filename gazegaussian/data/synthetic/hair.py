"""A hair shell around the skull: a grid over directions from the crown that follows the skull's shape.

The shell has no thickness of its own; `HairShell.grow` pushes it out by a person's hair volume and length, and the
painter cuts it at the hairline with strands. Coordinates are decimetres in the base mesh's frame until `follow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from gazegaussian.data.synthetic.base_mesh import SKIN, BaseMesh

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

_CENTRE = np.array([0.0, 7.55, 0.55])
_SEGMENTS = 128
_ROWS = 72
_BOTTOM = 6.05  # dm, lower end of the longest hair

# Hairline: height (dm) over the azimuth from the front (degrees), short hair and long hair.
_AZIMUTH = np.radians([0, 15, 30, 42, 52, 60, 66, 72, 78, 84, 110, 122, 135, 155, 180])
_SHORT = np.array([7.98, 7.99, 7.98, 7.92, 7.80, 7.66, 7.42, 7.28, 7.36, 7.50, 7.48, 7.22, 7.0, 6.84, 6.78])
_LONG = np.array([7.98, 7.99, 7.98, 7.92, 7.80, 7.66, 7.3, 6.75, 6.45, 6.32, 6.2, 6.15, 6.12, 6.1, 6.1])


def hairline(azimuth: FloatArray, length: float, height: float) -> FloatArray:
    """Height of the hairline.

    Args:
        azimuth: Angle from the front, rad, in [-pi, pi]. Any shape.
        length: 0 short, 1 long.
        height: 0 low, 1 receding.

    Returns:
        Canonical height in dm, shape of `azimuth`.
    """
    turn = np.abs(azimuth)
    long = np.clip((length - 0.45) / 0.4, 0, 1)
    line = np.interp(turn, _AZIMUTH, (1 - long) * _SHORT + long * _LONG)
    temple = np.exp(-(((turn - 0.75) / 0.25) ** 2)) * 0.10
    front = np.clip(1 - turn / 1.1, 0, 1)
    return line + (height - 0.4) * (0.18 * front + temple)


@dataclass(frozen=True)
class HairShell:
    """The grid and its binding to the skin."""

    canonical: FloatArray  # [K, 3] dm, on the neutral skull (below it: falling straight)
    outward: FloatArray  # [K, 3] unit, the direction of hair volume
    down: FloatArray  # [K, 3] unit, the direction of the strands
    azimuth: FloatArray  # [K] rad from the front, in [-pi, pi]
    ears: FloatArray  # [K] 1 over the ears, 0 elsewhere
    triangles: IntArray  # [T, 3]
    binding: sparse.csr_matrix  # [K, V] skin offsets to shell offsets

    def follow(self, skin_offset: FloatArray) -> FloatArray:
        """Return the shell moved with the skin; `skin_offset` [V, 3] dm -> [K, 3] dm."""
        return self.canonical + self.binding @ skin_offset

    def thickness(self, length: float, volume: float, height: float) -> FloatArray:
        """Outward offset of the shell for a person's hair: nothing at the hairline, more away from it. [K] dm"""
        inside = np.full(len(self.azimuth), np.inf)
        for shift in np.linspace(-0.36, 0.36, 13):  # about the distance to the hairline, also where it is steep
            turned = (self.azimuth + shift + np.pi) % (2 * np.pi) - np.pi
            inside = np.minimum(inside, self.canonical[:, 1] - hairline(turned, length, height) + 0.8 * abs(shift))
        long = float(np.clip((length - 0.45) / 0.4, 0, 1))
        rise = np.clip(inside / 0.38, 0, 1)
        rise = 1 - (1 - rise) ** 2
        full = (0.03 + 0.15 * volume) * np.clip(length / 0.35, 0.2, 1)
        return 0.008 + full * rise + long * 0.17 * self.ears

    def kept(self, length: float, height: float) -> tuple[IntArray, IntArray]:
        """Triangles that reach above the hairline, and those that lie well above it. Two arrays [T', 3]

        Strands are cut out of the first; the second shows what is behind the cuts.
        """
        above = self.canonical[:, 1] - hairline(self.azimuth, length, height)
        return self.triangles[(above > -0.02)[self.triangles].any(1)], self.triangles[
            (above > 0.08)[self.triangles].all(1)
        ]


def build_hair_shell(base: BaseMesh, ears: NDArray[np.bool_]) -> HairShell:
    """Build the shell on the neutral skull; `ears` [V] marks skin vertices of the ears, which do not carry hair."""
    skull = (base.part == SKIN) & ~ears
    points = base.vertices[skull]
    azimuth = np.linspace(-np.pi, np.pi, _SEGMENTS + 1)
    polar = np.linspace(0.02, np.pi * 0.80, _ROWS)
    phi, theta = np.meshgrid(polar, azimuth, indexing="ij")
    direction = np.stack([np.sin(phi) * np.sin(theta), np.cos(phi), np.sin(phi) * np.cos(theta)], -1).reshape(-1, 3)
    offset = points - _CENTRE
    radius = np.linalg.norm(offset, axis=1)
    distance, near = cKDTree(offset / radius[:, None]).query(direction, k=24)
    weight = np.exp(-((distance / 0.09) ** 2)) + 1e-9
    reach = (weight * radius[near]).sum(1) / weight.sum(1)
    shell = _CENTRE + direction * reach[:, None]
    shell = _fall(shell.reshape(_ROWS, _SEGMENTS + 1, 3), np.abs(azimuth)).reshape(-1, 3)
    spread, owners = cKDTree(points).query(shell, k=16)
    pull = np.exp(-((spread / (0.15 + spread[:, :1])) ** 2))
    pull /= pull.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(shell)), 16)
    binding = sparse.csr_matrix(
        (pull.ravel(), (rows, np.flatnonzero(skull)[owners].ravel())), (len(shell), len(base.vertices))
    )
    ear_points = base.vertices[ears]
    close, _ = cKDTree(ear_points).query(shell)
    down = np.asarray(np.gradient(shell.reshape(_ROWS, _SEGMENTS + 1, 3), axis=0)).reshape(-1, 3)
    down /= np.linalg.norm(down, axis=1, keepdims=True) + 1e-12
    outward = direction * np.array([1.0, 0.8, 1.0])
    outward[shell[:, 1] < _CENTRE[1] - 0.3, 1] = 0
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return HairShell(
        canonical=shell,
        outward=outward,
        down=down,
        azimuth=theta.ravel(),
        ears=np.exp(-((close / 0.12) ** 2)),
        triangles=_grid_triangles(_ROWS, _SEGMENTS + 1),
        binding=binding,
    )


def _fall(shell: FloatArray, turn: FloatArray) -> FloatArray:
    """Below the widest part of sides and back, let columns hang straight instead of following the neck."""
    out = shell.copy()
    for column in np.flatnonzero(turn > 1.0):
        height = shell[:, column, 1]
        start = int(np.argmin(np.abs(height - 7.35)))
        steps = np.linspace(0, 1, len(height) - start)
        out[start:, column, 1] = height[start] + (_BOTTOM - height[start]) * steps
        keep = np.clip(1 - steps * 0.18, 0, 1)
        for axis in (0, 2):
            hanging = shell[start, column, axis] * keep + _CENTRE[axis] * (1 - keep)
            follow = np.interp(out[start:, column, 1], height[::-1], shell[::-1, column, axis])
            blend = np.clip(steps * 1.2, 0, 0.45)
            out[start:, column, axis] = blend * hanging + (1 - blend) * follow
    return out


def _grid_triangles(rows: int, columns: int) -> IntArray:
    i = np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)
    one = np.stack([i, i + columns, i + 1], -1).reshape(-1, 3)
    two = np.stack([i + 1, i + columns, i + columns + 1], -1).reshape(-1, 3)
    return np.concatenate([one, two]).astype(np.int32)

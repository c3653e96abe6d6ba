"""From traits to vertices: neutral shapes, expressions, lids and eyeballs of the synthetic heads.

Output is in the model's head frame (x right of the image for a frontal face, y up, z out of the face), in model units:
`UNITS_PER_DM` times decimetres, the middle between the eyes at `EYE_MIDDLE`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gazegaussian.data.base_mesh import BaseMesh, load_base_mesh, read_target, target_paths
from gazegaussian.data.hair import HairShell, build_hair_shell
from gazegaussian.data.traits import EXPRESSION, IDENTITY, SHAPE, named

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

UNITS_PER_DM = 1.12
EYE_MIDDLE = np.array([0.0, 0.12, 0.30])
# Catmull-Clark pulls the lids a little into the eyeball of the coarse mesh; the painted ball is that much smaller.
_BALL_FACTOR = 0.985
# Gaze pitch (rad) at which the eyeLookUp/Down units are fully on; lids follow the eye only in part.
_LID_FULL_PITCH = 0.62


@dataclass(frozen=True)
class NeutralHead:
    """A person without expression, head frame, model units."""

    skin: FloatArray  # [V, 3] vertices of the base mesh
    hair: FloatArray  # [K, 3] vertices of the hair shell, before hair volume
    eye_centres: FloatArray  # [2, 3] the person's left eye, then the right
    eye_radii: FloatArray  # [2]


class HeadModel:
    """The shape basis, read once per process (`head_model()`)."""

    def __init__(self) -> None:
        self.base: BaseMesh = load_base_mesh()
        self._identity = _macro_names() + [n for t in SHAPE for n in t.more + t.less]
        names = self._identity + [n for t in EXPRESSION for n in t.more + t.less] + _lid_names()
        unique = list(dict.fromkeys(names))
        count = len(self.base.file_vertices)
        centres, radii = self.base.eyes()
        self._basis: dict[str, FloatArray] = {}
        self._eyes: dict[str, tuple[FloatArray, FloatArray]] = {}
        for name, path in zip(unique, target_paths(unique), strict=True):
            offset = read_target(path, count)
            self._basis[name] = (self.base.operator @ offset).astype(np.float32)
            if name in self._identity:
                moved, size = self.base.eyes(offset)
                self._eyes[name] = (moved - centres, size - radii)
        self.canonical = self.base.vertices.astype(np.float32)  # [V, 3] dm, neutral mesh in the file's frame
        self.hair: HairShell = build_hair_shell(self.base, self._ears())

    def _ears(self) -> NDArray[np.bool_]:
        """Vertices that belong to the ears: those which the ear targets move."""
        moved = sum(np.abs(self._basis[f"ears/{s}-ear-scale-incr"]).sum(1) for s in "lr")
        return np.asarray(moved) > 0.02

    @functools.cached_property
    def jaw_drop(self) -> FloatArray:
        """How far the jawOpen unit lowers each vertex (tells lower from upper lip). [V] dm"""
        return -self._basis["units/jawOpen"][:, 1]

    def neutral(self, identity: FloatArray) -> NeutralHead:
        """Shape a person.

        Args:
            identity: One value per trait of `IDENTITY`.

        Returns:
            The neutral head, centred on the eyes (the macro targets move the whole body).
        """
        skin = self.canonical.astype(np.float64)
        centres, radii = self.base.eyes()
        for name, weight in _identity_weights(identity).items():
            skin += weight * self._basis[name]
            centres = centres + weight * self._eyes[name][0]
            radii = radii + weight * self._eyes[name][1]
        middle = centres.mean(0)

        def to_head(points: FloatArray) -> FloatArray:
            return (points - middle) * UNITS_PER_DM + EYE_MIDDLE

        hair = self.hair.follow(skin - self.canonical)
        return NeutralHead(to_head(skin), to_head(hair), to_head(centres), radii * UNITS_PER_DM * _BALL_FACTOR)

    def express(self, head: NeutralHead, expression: FloatArray, gaze: FloatArray) -> FloatArray:
        """Move the skin by an expression and let the lids follow the vertical gaze.

        Args:
            head: The neutral head.
            expression: One value per trait of `EXPRESSION`.
            gaze: (pitch, yaw) in rad, head frame.

        Returns:
            Skin vertices, head frame. [V, 3]
        """
        weights: dict[str, float] = {}
        for trait, value in zip(EXPRESSION, expression, strict=True):
            for name in trait.more if value >= 0 else trait.less:
                weights[name] = weights.get(name, 0.0) + abs(float(value))
        direction = "Up" if gaze[0] > 0 else "Down"
        for side in ("Left", "Right"):
            weights[f"units/eyeLook{direction}{side}"] = abs(float(gaze[0])) / _LID_FULL_PITCH
        skin = head.skin.copy()
        for name, weight in weights.items():
            if weight:
                skin += (weight * UNITS_PER_DM) * self._basis[name]
        return skin


@functools.cache
def head_model() -> HeadModel:
    """Return the process's one head model."""
    return HeadModel()


def gaze_vector(pitchyaw: FloatArray) -> FloatArray:
    """Unit vector (cos p sin y, sin p, cos p cos y) of a (pitch, yaw) in rad. [3]"""
    pitch, yaw = pitchyaw
    return np.array([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)])


def rotation_xyz(x: float, y: float, z: float) -> FloatArray:
    """Return Rz(z) Ry(y) Rx(x), angles in rad. [3, 3]"""
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def gaze_rotation(pitchyaw: FloatArray) -> FloatArray:
    """Rotation of an eyeball that looks along (pitch, yaw): its third column is `gaze_vector`. [3, 3]"""
    return rotation_xyz(-pitchyaw[0], pitchyaw[1], 0.0)


def normal_operator(triangles: IntArray, count: int) -> sparse.csr_matrix:
    """Sum over the triangles at a vertex. [count, T]"""
    rows, cols = triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)
    return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, cols)), (count, len(triangles)))


def vertex_normals(vertices: FloatArray, triangles: IntArray, operator: sparse.csr_matrix) -> FloatArray:
    """Area-weighted unit normals. [V, 3]"""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normal = operator @ np.cross(b - a, c - a)
    return normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)


def unit_sphere(rings: int = 40, segments: int = 64) -> tuple[FloatArray, IntArray]:
    """Return vertices [N, 3] and triangles [T, 3] of a unit sphere with its poles on z."""
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    i = np.arange(rings)[:, None] * segments
    j, k = np.arange(segments), (np.arange(segments) + 1) % segments
    one = np.stack([i + j, i + segments + j, i + k], -1).reshape(-1, 3)
    two = np.stack([i + k, i + segments + j, i + segments + k], -1).reshape(-1, 3)
    return points.reshape(-1, 3), np.concatenate([one, two]).astype(np.int32)


_ANCESTRY, _GENDER, _AGE = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")
_WEIGHT = ("minweight", "averageweight", "maxweight")


def _macro_names() -> list[str]:
    first = [f"macrodetails/{e}-{g}-{a}" for e, g, a in product(_ANCESTRY, _GENDER, _AGE)]
    return first + [f"macrodetails/universal-{g}-{a}-averagemuscle-{w}" for g, a, w in product(_GENDER, _AGE, _WEIGHT)]


def _lid_names() -> list[str]:
    return [f"units/eyeLook{d}{s}" for d, s in product(("Up", "Down"), ("Left", "Right"))]


def _identity_weights(identity: FloatArray) -> dict[str, float]:
    """Weights of all shape targets of a person; the macro targets blend multilinearly as in MakeHuman."""
    value = named(IDENTITY, identity)
    ancestry = np.array([value[e] for e in _ANCESTRY]) + 0.05
    ancestry /= ancestry.sum()
    gender = {"female": 1 - value["male"], "male": value["male"]}
    age = {"young": 1 - value["age"], "old": value["age"]}
    heavy = value["weight"]
    weight = {"minweight": max(-heavy, 0.0), "averageweight": 1 - abs(heavy), "maxweight": max(heavy, 0.0)}
    weights = {
        f"macrodetails/{e}-{g}-{a}": float(share) * gender[g] * age[a]
        for (e, share), g, a in product(zip(_ANCESTRY, ancestry, strict=True), _GENDER, _AGE)
    }
    for g, a, w in product(_GENDER, _AGE, _WEIGHT):
        weights[f"macrodetails/universal-{g}-{a}-averagemuscle-{w}"] = gender[g] * age[a] * weight[w]
    for trait in SHAPE:
        for name in trait.more if value[trait.name] >= 0 else trait.less:
            weights[name] = weights.get(name, 0.0) + abs(value[trait.name])
    return {name: w for name, w in weights.items() if w}


def polyline_distance(points: FloatArray, line: FloatArray) -> FloatArray:
    """Distance of points [N, D] to a polyline [M, D]. [N]"""
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        along = np.clip((points - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
    return best

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

from gazegaussian.data.synthetic.base_mesh import SKIN, TONGUE, BaseMesh, load_base_mesh, read_target, target_paths
from gazegaussian.data.synthetic.hair import HairShell, build_hair_shell
from gazegaussian.data.synthetic.traits import EXPRESSION, IDENTITY, SHAPE, named

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

UNITS_PER_DM = 1.12
EYE_MIDDLE = np.array([0.0, 0.12, 0.30])
# Catmull-Clark pulls the lids a little into the eyeball of the coarse mesh; the painted ball is that much smaller.
_BALL_FACTOR = 0.985
# Lids slide over the eyeball: angles (degrees, up positive) at rest, and their share of the gaze pitch.
_UPPER_REST = 4.5
_LOWER_REST = -2.0
_UPPER_FOLLOWS = 0.80
_LOWER_FOLLOWS = 0.45
# Angle (degrees) of a fully active unit; these units rotate the lids instead of moving them along straight lines.
_UPPER_UNITS = {"blink": -40.0, "wide": 13.0}
_LID_UNITS = ("units/eyeBlink", "units/eyeWide")
# Larger heads are scaled down: lowest and highest skin point, rearmost skin point (head frame); hair needs the rest.
_REACH = ((1, -1.60), (1, 1.50), (2, -1.85))
_LID_CLEARANCE = 1.02  # of the painted ball's radius


@dataclass(frozen=True)
class _Lids:
    """The lid vertices of one eye and how much they turn with the upper and the lower lid."""

    ids: IntArray  # [N]
    upper: FloatArray  # [N] in [0, 1]
    lower: FloatArray  # [N] in [0, 1]
    outside: NDArray[np.bool_]  # [N] may never sink into the eyeball


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
        names = self._identity + [n for t in EXPRESSION for n in t.more + t.less]
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
        self._basis["units/jawOpen"][self.base.part == TONGUE] += np.array([0, -0.12, -0.1], np.float32)
        self._lids = tuple(self._lid_weights(side, centres[i], radii[i]) for i, side in enumerate(("Left", "Right")))
        self.hair: HairShell = build_hair_shell(self.base, self._ears())

    def _lid_weights(self, side: str, centre: FloatArray, radius: float) -> _Lids:
        """Share of the lids' turn per vertex: that of the blink unit above, of the squint unit below."""
        far = np.linalg.norm(self.canonical - centre, axis=1) / radius
        ids = np.flatnonzero((self.base.part == SKIN) & (far < 1.9) & (self.canonical[:, 2] > centre[2] - 0.03))
        fade = np.clip((1.75 - far[ids]) / 0.5, 0, 1)
        blink = np.linalg.norm(self._basis[f"units/eyeBlink{side}"][ids], axis=1)
        squint = np.linalg.norm(self._basis[f"units/eyeSquint{side}"][ids], axis=1)
        upper = np.clip(blink / np.percentile(blink, 97), 0, 1)
        lower = np.clip(squint / np.percentile(squint, 93), 0, 1) * fade * (1 - upper)
        return _Lids(ids, upper, lower, far[ids] > 0.985)

    def _move_lids(self, skin: FloatArray, head: NeutralHead, expression: dict[str, float], pitch: float) -> None:
        """Turn the lids about the eyeballs' horizontal axes, in place; `pitch` is the gaze's, rad."""
        upper = _UPPER_REST + sum(angle * expression[name] for name, angle in _UPPER_UNITS.items())
        upper += _UPPER_FOLLOWS * np.degrees(pitch)
        lower = _LOWER_REST + _LOWER_FOLLOWS * np.degrees(pitch)
        for lids, centre, radius in zip(self._lids, head.eye_centres, head.eye_radii, strict=True):
            x, y, z = (skin[lids.ids] - centre).T
            angle = np.radians(upper * lids.upper + lower * lids.lower)
            sine = np.sin(angle)
            cosine = np.cos(angle)
            turned = np.stack([x, y * cosine + z * sine, z * cosine - y * sine], 1)
            far = np.linalg.norm(turned, axis=1)
            lift = np.where(lids.outside, np.maximum(_LID_CLEARANCE * radius / far, 1), 1)
            skin[lids.ids] = centre + turned * lift[:, None]

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

        units = UNITS_PER_DM
        for axis, reach in _REACH:
            extent = (skin[:, axis] - middle[axis]).min() if reach < 0 else (skin[:, axis] - middle[axis]).max()
            units = min(units, (reach - EYE_MIDDLE[axis]) / extent)

        def to_head(points: FloatArray) -> FloatArray:
            return (points - middle) * units + EYE_MIDDLE

        hair = self.hair.follow(skin - self.canonical)
        return NeutralHead(to_head(skin), to_head(hair), to_head(centres), radii * units * _BALL_FACTOR)

    def express(self, head: NeutralHead, expression: FloatArray, gaze: FloatArray) -> FloatArray:
        """Move the skin by an expression and let the lids follow the vertical gaze.

        Args:
            head: The neutral head.
            expression: One value per trait of `EXPRESSION`.
            gaze: (pitch, yaw) in rad, head frame.

        Returns:
            Skin vertices, head frame. [V, 3]
        """
        skin = head.skin.copy()
        for trait, value in zip(EXPRESSION, expression, strict=True):
            for name in trait.more if value >= 0 else trait.less:
                if value and not name.startswith(_LID_UNITS):
                    skin += (abs(float(value)) * UNITS_PER_DM) * self._basis[name]
        self._move_lids(skin, head, named(EXPRESSION, expression), float(gaze[0]))
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
    (cx, cy, cz) = np.cos([x, y, z])
    (sx, sy, sz) = np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def gaze_rotation(pitchyaw: FloatArray) -> FloatArray:
    """Rotation of an eyeball that looks along (pitch, yaw): its third column is `gaze_vector`. [3, 3]"""
    return rotation_xyz(-pitchyaw[0], pitchyaw[1], 0.0)


def normal_operator(triangles: IntArray, count: int) -> sparse.csr_matrix:
    """Sum over the triangles at a vertex. [count, T]"""
    rows = triangles.ravel()
    cols = np.repeat(np.arange(len(triangles)), 3)
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
    j = np.arange(segments)
    k = (np.arange(segments) + 1) % segments
    one = np.stack([i + j, i + segments + j, i + k], -1).reshape(-1, 3)
    two = np.stack([i + k, i + segments + j, i + segments + k], -1).reshape(-1, 3)
    return points.reshape(-1, 3), np.concatenate([one, two]).astype(np.int32)


_ANCESTRY = ("african", "asian", "caucasian")
_GENDER = ("female", "male")
_AGE = ("young", "old")
_WEIGHT = ("minweight", "averageweight", "maxweight")


def _macro_names() -> list[str]:
    first = [f"macrodetails/{e}-{g}-{a}" for e, g, a in product(_ANCESTRY, _GENDER, _AGE)]
    return first + [f"macrodetails/universal-{g}-{a}-averagemuscle-{w}" for g, a, w in product(_GENDER, _AGE, _WEIGHT)]


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

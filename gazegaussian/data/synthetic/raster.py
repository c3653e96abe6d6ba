"""Visibility and interpolation for the synthetic heads: a z-buffer in NVIDIA Warp on the CPU.

Deliberately independent of `gazegaussian.rendering`: the data must not change when the model's renderer does.
Pixel centres are at integers; depth is the camera frame's z.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazegaussian.utils.warp_setup import start, wp

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


@wp.kernel(enable_backward=False)
def _cover(
    xy: wp.array(dtype=wp.vec2),  # type: ignore[valid-type]
    inverse_depth: wp.array(dtype=wp.float32),  # type: ignore[valid-type]
    triangles: wp.array(dtype=wp.vec3i),  # type: ignore[valid-type]
    width: int,
    height: int,
    key: wp.array(dtype=wp.int64),  # type: ignore[valid-type]
) -> None:
    """Keep, per pixel, the largest (bits of 1/z, face): positive floats are ordered like their bits."""
    face = wp.tid()
    t = triangles[face]
    a = xy[t[0]]
    b = xy[t[1]]
    c = xy[t[2]]
    wa = inverse_depth[t[0]]
    wb = inverse_depth[t[1]]
    wc = inverse_depth[t[2]]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area == 0.0 or wp.min(wa, wp.min(wb, wc)) <= 0.0:
        return
    x0 = wp.max(0, int(wp.ceil(wp.max(wp.min(a[0], wp.min(b[0], c[0])), -1.0))))
    x1 = wp.min(width - 1, int(wp.floor(wp.min(wp.max(a[0], wp.max(b[0], c[0])), float(width)))))
    y0 = wp.max(0, int(wp.ceil(wp.max(wp.min(a[1], wp.min(b[1], c[1])), -1.0))))
    y1 = wp.min(height - 1, int(wp.floor(wp.min(wp.max(a[1], wp.max(b[1], c[1])), float(height)))))
    for y in range(y0, y1 + 1):
        py = float(y)
        for x in range(x0, x1 + 1):
            px = float(x)
            u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
            v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
            w = 1.0 - u - v
            if u >= 0.0 and v >= 0.0 and w >= 0.0:
                q = u * wa + v * wb + w * wc
                wp.atomic_max(
                    key,
                    y * width + x,
                    (wp.int64(wp.cast(q, wp.int32)) << wp.int64(32)) | wp.int64(2147483647 - face),  # type: ignore[operator]
                )


@wp.kernel(enable_backward=False)
def _interpolate(
    pixels: wp.array(dtype=wp.int32),  # type: ignore[valid-type]
    faces: wp.array(dtype=wp.int32),  # type: ignore[valid-type]
    xy: wp.array(dtype=wp.vec2),  # type: ignore[valid-type]
    inverse_depth: wp.array(dtype=wp.float32),  # type: ignore[valid-type]
    triangles: wp.array(dtype=wp.vec3i),  # type: ignore[valid-type]
    attributes: wp.array2d(dtype=wp.float32),  # type: ignore[valid-type]
    width: int,
    channels: int,
    out: wp.array2d(dtype=wp.float32),  # type: ignore[valid-type]
) -> None:
    """Perspective-correct interpolation at the covered pixels."""
    i = wp.tid()
    px = float(pixels[i] % width)
    py = float(pixels[i] / width)
    t = triangles[faces[i]]
    a = xy[t[0]]
    b = xy[t[1]]
    c = xy[t[2]]
    u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) * inverse_depth[t[0]]
    v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) * inverse_depth[t[1]]
    w = ((a[0] - px) * (b[1] - py) - (a[1] - py) * (b[0] - px)) * inverse_depth[t[2]]
    s = 1.0 / (u + v + w)
    for k in range(channels):
        out[i, k] = (u * attributes[t[0], k] + v * attributes[t[1], k] + w * attributes[t[2], k]) * s


@dataclass(frozen=True)
class Visible:
    """The covered pixels of one image."""

    pixels: IntArray  # [P] row-major pixel number
    faces: IntArray  # [P] triangle seen there
    depth: FloatArray  # [P] camera z
    values: FloatArray  # [P, C] interpolated attributes


def visible(
    xy: FloatArray, depth: FloatArray, triangles: IntArray, attributes: FloatArray, width: int, height: int
) -> Visible:
    """Rasterise a mesh and interpolate its vertex attributes.

    Args:
        xy: Pixel positions, pixel centres at integers. [V, 2]
        depth: Camera z, > 0 in front of the camera. [V]
        triangles: Vertex indices. [T, 3] int32
        attributes: Per vertex. [V, C] float32
        width: Pixels.
        height: Pixels.

    Returns:
        What is seen at each covered pixel.
    """
    start()
    inverse = np.where(depth > 0.01, 1 / np.maximum(depth, 0.01), -1.0).astype(np.float32)
    screen: wp.array = wp.array(np.ascontiguousarray(xy, np.float32), dtype=wp.vec2, device="cpu")
    weights: wp.array = wp.array(inverse, dtype=wp.float32, device="cpu")
    corners: wp.array = wp.array(np.ascontiguousarray(triangles, np.int32), dtype=wp.vec3i, device="cpu")
    key = np.full(width * height, -1, np.int64)
    target: wp.array = wp.array(key, dtype=wp.int64, device="cpu", copy=False)
    wp.launch(_cover, dim=len(triangles), inputs=[screen, weights, corners, width, height, target], device="cpu")
    pixels = np.flatnonzero(key >= 0).astype(np.int32)
    hit = key[pixels]
    faces = (2147483647 - (hit & 0x7FFFFFFF)).astype(np.int32)
    seen_depth = 1 / (hit >> 32).astype(np.int32).view(np.float32)
    channels = attributes.shape[1]
    values = np.empty((len(pixels), channels), np.float32)
    if len(pixels):
        wp.launch(
            _interpolate,
            dim=len(pixels),
            inputs=[
                wp.array(pixels, dtype=wp.int32, device="cpu", copy=False),
                wp.array(faces, dtype=wp.int32, device="cpu", copy=False),
                screen,
                weights,
                corners,
                wp.array(np.ascontiguousarray(attributes, np.float32), dtype=wp.float32, device="cpu"),
                width,
                channels,
                wp.array(values, dtype=wp.float32, device="cpu", copy=False),
            ],
            device="cpu",
        )
    return Visible(pixels, faces, seen_depth, values)

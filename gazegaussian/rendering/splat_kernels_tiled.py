"""Compositing in the shape of a GPU: one thread is a pixel, one block of 32 threads is 8 x 4 pixels of a square tile.

Backward, the block walks through its splats back to front in step; the gradients of its 32 pixels are added up in the
block first, so a splat costs one atomic addition per block instead of one per pixel. The same source runs on the CPU with
`wp.config.enable_cpu_blocks`, slowly, for tests.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.
# `int(0)` declares a variable to Warp, a bare 0 would be a constant.
# ruff: noqa: UP018, RUF046
# mypy: disable-error-code="valid-type"

import functools
from typing import Any, NamedTuple

from gazegaussian.rendering._warp import wp
from gazegaussian.rendering.projection import ALPHA_MIN, TRANSMITTANCE_MIN
from gazegaussian.rendering.splat_kernels import SIX

BLOCK = 32  # threads: 8 x 4 pixels
_A_MIN = wp.constant(ALPHA_MIN)
_T_MIN = wp.constant(TRANSMITTANCE_MIN)


class TileKernels(NamedTuple):
    """Kernels for one number of channels."""

    vector: Any
    forward: Any
    backward: Any


@wp.func
def _pixel(tid: int, side: int, across: int, down: int) -> wp.vec4i:
    """Tile, image, x, y of a thread."""
    area = side * side
    tile = tid // area
    inside = tid - tile * area
    block = inside // 32
    lane = inside - block * 32
    blocks_across = side // 8
    image = tile // (across * down)
    local = tile - image * across * down
    x = (local % across) * side + (block % blocks_across) * 8 + lane % 8
    y = (local // across) * side + (block // blocks_across) * 4 + lane // 8
    return wp.vec4i(tile, image, x, y)


@functools.cache
def tile_kernels(channels: int) -> TileKernels:
    """Build (compile at first launch, then from the cache) the kernels for `channels` features."""
    vec = wp.types.vector(length=channels, dtype=wp.float32)

    @wp.kernel(module="unique", enable_backward=False)
    def forward(
        means: wp.array(dtype=wp.vec2),
        conics: wp.array(dtype=wp.vec3),
        opacities: wp.array(dtype=float),
        features: wp.array(dtype=vec),
        background: wp.array(dtype=vec),
        splats: wp.array(dtype=int),
        offsets: wp.array(dtype=int),
        width: int,
        height: int,
        side: int,
        across: int,
        down: int,
        max_alpha: float,
        image: wp.array(dtype=vec),
        transmittance: wp.array(dtype=float),
        last: wp.array(dtype=int),
    ) -> None:
        at = _pixel(wp.tid(), side, across, down)
        if at[2] >= width or at[3] >= height:
            return
        px = float(at[2]) + 0.5
        py = float(at[3]) + 0.5
        t = float(1.0)
        total = vec()
        start = offsets[at[0]]
        final = int(start)
        for entry in range(start, offsets[at[0] + 1]):
            g = splats[entry]
            m = means[g]
            c = conics[g]
            dx = m[0] - px
            dy = m[1] - py
            s = 0.5 * (c[0] * dx * dx + c[2] * dy * dy) + c[1] * dx * dy
            if s >= 0.0:
                alpha = wp.min(max_alpha, opacities[g] * wp.exp(-s))
                if alpha >= _A_MIN:
                    after = t * (1.0 - alpha)
                    if after < _T_MIN:
                        break
                    total += (alpha * t) * features[g]
                    t = after
                    final = entry + 1
        p = (at[1] * height + at[3]) * width + at[2]
        image[p] = total + t * background[0]
        transmittance[p] = t
        last[p] = final

    @wp.kernel(module="unique", enable_backward=False)
    def backward(
        means: wp.array(dtype=wp.vec2),
        conics: wp.array(dtype=wp.vec3),
        opacities: wp.array(dtype=float),
        features: wp.array(dtype=vec),
        background: wp.array(dtype=vec),
        splats: wp.array(dtype=int),
        offsets: wp.array(dtype=int),
        width: int,
        height: int,
        side: int,
        across: int,
        down: int,
        max_alpha: float,
        transmittance: wp.array(dtype=float),
        last: wp.array(dtype=int),
        grad_image: wp.array(dtype=vec),
        grad_alpha: wp.array(dtype=float),
        grad_features: wp.array(dtype=vec),
        grad_shape: wp.array(dtype=SIX),
    ) -> None:
        at = _pixel(wp.tid(), side, across, down)
        x = at[2]
        y = at[3]
        px = float(x) + 0.5
        py = float(y) + 0.5
        # Threads outside the image take part in the block's sums, with nothing to add.
        p = (at[1] * height + wp.min(y, height - 1)) * width + wp.min(x, width - 1)
        start = offsets[at[0]]
        count = int(0)
        if x < width and y < height:
            count = last[p] - start
        v = grad_image[p]
        t = float(transmittance[p])
        behind = t * (wp.dot(background[0], v) - grad_alpha[p])
        longest = wp.tile_extract(wp.tile_reduce(wp.max, wp.tile(count)), 0)
        for step in range(longest):
            rank = longest - 1 - step
            g = splats[start + rank]
            hit = int(0)
            gf = vec()
            gs = SIX()
            if rank < count:
                m = means[g]
                c = conics[g]
                dx = m[0] - px
                dy = m[1] - py
                s = 0.5 * (c[0] * dx * dx + c[2] * dy * dy) + c[1] * dx * dy
                if s >= 0.0:
                    e = wp.exp(-s)
                    o = opacities[g]
                    alpha = wp.min(max_alpha, o * e)
                    if alpha >= _A_MIN:
                        hit = 1
                        through = 1.0 / (1.0 - alpha)
                        t = t * through
                        w = alpha * t
                        d = wp.dot(features[g], v)
                        gf = w * v
                        if o * e < max_alpha:
                            da = t * d - behind * through
                            ds = -alpha * da
                            gx = ds * (c[0] * dx + c[1] * dy)
                            gy = ds * (c[2] * dy + c[1] * dx)
                            gs = SIX(gx, gy, 0.5 * ds * dx * dx, ds * dx * dy, 0.5 * ds * dy * dy, e * da)
                        behind += w * d
            if wp.tile_extract(wp.tile_sum(wp.tile(hit)), 0) > 0:
                wp.tile_atomic_add(grad_features, wp.tile_reduce(wp.add, wp.tile(gf, preserve_type=True)), offset=g)
                wp.tile_atomic_add(grad_shape, wp.tile_reduce(wp.add, wp.tile(gs, preserve_type=True)), offset=g)

    return TileKernels(vec, forward, backward)

"""How the surfaces of the synthetic heads take light: shared lighting, eyeballs, hair strands.

Directions are unit vectors in the head frame; colours are display RGB in [0, 1].
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from gazegaussian.data.synthetic.hair import hairline
from gazegaussian.data.synthetic.paint import hair_colour, iris_colour
from gazegaussian.data.synthetic.rig import Light

Array = NDArray[np.float32]


def unit(vectors: Array) -> Array:
    """Normalise. [P, 3]"""
    return vectors / (np.sqrt(np.einsum("pi,pi->p", vectors, vectors))[:, None] + 1e-9)


def dot(vectors: Array, direction: Array) -> Array:
    """Dot products with one direction. [P]"""
    return vectors[:, 0] * direction[0] + vectors[:, 1] * direction[1] + vectors[:, 2] * direction[2]


def illuminate(normal: Array, toward_light: Array, light: Light, open_sky: Array | float) -> Array:
    """Diffuse light per colour channel. [P, 3]"""
    wrap = np.clip((dot(normal, toward_light) + 0.4) / 1.4, 0, 1) ** 1.3
    sky = (light.ambient + 0.10 * normal[:, 1]) * open_sky
    direct = light.strength * wrap * (0.35 + 0.65 * np.asarray(open_sky))
    return sky[:, None] + direct[:, None] * light.tint


def _smooth(edge0: float, edge1: float, x: Array) -> Array:
    t = np.clip((x - edge0) / (edge1 - edge0), 0, 1)
    return t * t * (3 - 2 * t)


def shade_eye(
    look: dict[str, float],
    gaze: NDArray[np.floating],
    index: int,
    normal: Array,
    toward_light: Array,
    toward_view: Array,
    light: Light,
) -> Array:
    """Colour an eyeball.

    Args:
        look: Identity traits by name.
        gaze: Rotation of the eyeball, head frame. [3, 3]
        index: 0 for the person's left eye, 1 for the right.
        normal: Direction of each pixel's surface point from the ball's centre. [P, 3]
        toward_light: [3]
        toward_view: [3]
        light: The camera's light.

    Returns:
        Colours. [P, 3]
    """
    local = np.einsum("pi,ij->pj", normal, gaze.astype(np.float32))
    angle = np.arccos(np.clip(local[:, 2], -1, 1))
    turn = np.arctan2(local[:, 1], local[:, 0])
    iris = np.radians(21.0 + 3.0 * look["iris_size"])
    pupil = iris * (0.30 + 0.16 * look["pupil_size"])
    r = angle / iris
    ray = np.sin(turn * 23 + 2.0 * np.sin(turn * 5)) * 0.6 + np.sin(turn * 41 + 1.3 * np.sin(turn * 7 + 1)) * 0.4
    fibre = 1 + (0.10 + 0.22 * look["iris_fibres"]) * ray * np.clip(r, 0, 1)
    base = iris_colour(look)
    inner = _smooth(0.62, 0.42, r)[:, None]
    stroma = base * fibre[:, None] * (1 + inner * np.array([0.28, 0.16, -0.05], np.float32))
    stroma *= (1 - (0.35 + 0.45 * look["limbal_ring"]) * _smooth(0.72, 0.98, r))[:, None]
    sclera = np.array([0.925, 0.905, 0.89], np.float32) * np.ones((len(normal), 1), np.float32)
    side = np.clip(np.abs(normal[:, 0]) - 0.35, 0, 1) * 1.4
    vein = np.clip(np.sin(local[:, 1] * 46 + 5 * np.sin(local[:, 0] * 11 + index)) - 0.72, 0, 1) * 2.6
    # The inner corner (towards the nose) is pinker than the outer one.
    corner = np.clip((normal[:, 0] if index else -normal[:, 0]) - 0.42, 0, 1) * 1.9
    pink = np.clip(side * (0.12 + 0.55 * look["sclera_veins"] * vein) + corner, 0, 0.75)[:, None]
    sclera *= 1 - pink * np.array([0.10, 0.42, 0.42], np.float32)
    colour = sclera + _smooth(1.03, 0.95, r)[:, None] * (stroma - sclera)
    dark = np.array([0.03, 0.025, 0.025], np.float32)
    colour += _smooth(pupil + 0.018, pupil - 0.018, angle)[:, None] * (dark - colour)
    lit = 0.42 + 0.58 * illuminate(normal, toward_light, light, 0.95)
    under_lid = 1 - 0.34 * _smooth(0.06, 0.42, normal[:, 1]) - 0.10 * _smooth(-0.10, -0.42, normal[:, 1])
    colour = colour * lit * under_lid[:, None]
    half = toward_light + toward_view
    shine = dot(normal, (half / np.linalg.norm(half)).astype(np.float32))
    spark = 0.92 * _smooth(np.cos(np.radians(7.5)), np.cos(np.radians(4.0)), shine)
    return colour + spark[:, None] * (1 - colour)


@functools.cache
def _strand_noise() -> Array:
    noise = np.random.default_rng([7, 11]).standard_normal(8192)
    smooth = np.convolve(np.concatenate([noise, noise[:2]]), [0.25, 0.5, 0.25], "valid")
    return (smooth / smooth.std()).astype(np.float32)


def hair_colours(
    look: dict[str, float],
    values: Array,
    toward_light: Array,
    toward_view: Array,
    light: Light,
) -> tuple[Array, NDArray[np.bool_]]:
    """Colour [P, 3] of the hair shell and which pixels a strand covers [P]."""
    wave = 0.05 * look["hair_waves"] * np.sin(values[:, 7] * (9 + 8 * look["hair_waves"]) + 3 * values[:, 6])
    turn = values[:, 6] + wave
    noise = _strand_noise()
    fine = noise[(turn * 700).astype(np.int64) % 8192]
    coarse = noise[(turn * 130 + 77).astype(np.int64) % 8192]
    line = hairline(values[:, 6], look["hair_length"], look["hairline"])
    keep = values[:, 7] - line + 0.022 * fine + 0.018 * coarse > 0.02
    normal = unit(values[:, :3])
    facing = dot(normal, toward_view)
    normal *= np.sign(facing)[:, None] + (facing == 0)[:, None]
    strand = unit(values[:, 3:6])
    half = toward_light + toward_view
    along = dot(strand, (half / np.linalg.norm(half)).astype(np.float32))
    gleam = np.clip(1 - along * along, 0, 1) ** 14 * (0.5 + 0.5 * np.clip(facing, 0, 1))
    base = hair_colour(look) * (1 + 0.13 * fine + 0.10 * coarse)[:, None]
    lit = illuminate(normal, toward_light, light, 0.85) * np.where(facing < 0, 0.55, 1.0)[:, None]
    sheen = (0.05 + 0.16 * look["shine"]) * gleam * (1 + 0.35 * fine) * light.strength
    colour = base * lit + sheen[:, None] * (0.35 + 0.65 * hair_colour(look) / hair_colour(look).max())
    return np.clip(colour, 0, 1), keep

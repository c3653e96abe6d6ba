"""The painted surface of a synthetic person: skin with brows, freckles and blush, palettes, and the fixed masks.

Skin is painted on a cylinder around the neutral head: azimuth from the front and height, both of the *neutral* surface
point, so that paint moves with the skin. All noise fields are fixed; a person only weighs them (by identity traits).
Colours are display RGB in [0, 1].
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gazegaussian.data.synthetic.hair import hairline

FloatArray = NDArray[np.float32]

AXIS_Z = 0.55  # dm, the cylinder's axis x = 0, z = AXIS_Z in the base mesh's frame
# dm, heights that the texture covers
LOW = 5.80
HIGH = 8.60
_ROWS_AT_ONCE = 16

_SKIN = [
    (0.97, 0.82, 0.74),
    (0.93, 0.75, 0.64),
    (0.86, 0.66, 0.52),
    (0.70, 0.50, 0.38),
    (0.50, 0.34, 0.26),
    (0.36, 0.24, 0.19),
]
_HAIR = [
    (0.07, 0.06, 0.06),
    (0.16, 0.11, 0.08),
    (0.29, 0.19, 0.13),
    (0.44, 0.25, 0.14),
    (0.58, 0.44, 0.28),
    (0.80, 0.67, 0.46),
]
_IRIS = [
    (0.20, 0.11, 0.06),
    (0.34, 0.20, 0.10),
    (0.44, 0.34, 0.18),
    (0.38, 0.45, 0.31),
    (0.36, 0.50, 0.64),
    (0.52, 0.58, 0.62),
]
_BROW_TURN = np.array([0.115, 0.22, 0.33, 0.44, 0.55, 0.64])  # rad, from the nose outwards
_BROW_HEIGHT = np.array([7.445, 7.468, 7.485, 7.490, 7.465, 7.425])  # dm


def palette(colours: list[tuple[float, float, float]], where: float) -> FloatArray:
    """Interpolate in a list of colours; `where` in [0, 1]. [3]"""
    table = np.array(colours)
    at = np.clip(where, 0, 1) * (len(table) - 1)
    return np.stack([np.interp(at, np.arange(len(table)), table[:, c]) for c in range(3)]).astype(np.float32)


def skin_colour(look: dict[str, float]) -> FloatArray:
    """Base colour of the skin. [3]"""
    tint = 1 + np.array([0.03, 0.0, -0.05]) * look["undertone"] + np.array([0.03, -0.03, -0.03]) * look["redness"]
    return palette(_SKIN, look["melanin"]) * tint.astype(np.float32)


def hair_colour(look: dict[str, float]) -> FloatArray:
    """Colour of the hair; dark skin goes with dark hair. [3]"""
    colour = palette(_HAIR, look["hair_hue"] * (1 - 0.85 * look["melanin"] ** 1.5))
    grey = max(look["hair_grey"], 0.0) * 0.8
    return ((1 - grey) * colour + grey * np.array([0.64, 0.63, 0.62])).astype(np.float32)


def iris_colour(look: dict[str, float]) -> FloatArray:
    """Colour of the iris; dark skin goes with brown eyes. [3]"""
    return palette(_IRIS, look["iris_hue"] * (1 - 0.8 * look["melanin"] ** 1.5)) * (0.75 + 0.5 * look["iris_light"])


def lip_colour(look: dict[str, float]) -> FloatArray:
    """Colour of the lips: the skin, redder and darker. [3]"""
    skin = skin_colour(look)
    tint = np.array([0.93, 0.74, 0.72]) * (1 - look["lip_pink"]) + np.array([0.96, 0.68, 0.70]) * look["lip_pink"]
    return (skin * (1 - look["lip_depth"] * (1 - tint) * 1.3 - 0.08)).astype(np.float32)


def value_noise(shape: tuple[int, int], cells: tuple[int, int], seed: int) -> FloatArray:
    """Smooth noise in about [-1, 1], periodic along the second axis (around the head)."""
    rng = np.random.default_rng([7, seed])
    grid = rng.standard_normal((cells[0] + 3, cells[1]))
    rows = np.linspace(1, cells[0] + 1, shape[0])
    cols = np.linspace(0, cells[1], shape[1], endpoint=False)
    where = np.meshgrid(rows, cols, indexing="ij")
    # mode "grid-wrap" is periodic on both axes; the rows stay inside the grid anyway.
    noise = ndimage.map_coordinates(grid.astype(np.float32), where, order=3, mode="grid-wrap")
    return (noise / noise.std() * 0.6).astype(np.float32)


@functools.cache
def _fields(rows: int, cols: int) -> dict[str, FloatArray]:
    """The fixed fields of the texture, [rows, cols] each; row 0 is the lowest height."""
    height = np.linspace(LOW, HIGH, rows, dtype=np.float32)[:, None]
    turn = np.linspace(-np.pi, np.pi, cols, endpoint=False, dtype=np.float32)[None]
    shape = (rows, cols)
    out: dict[str, FloatArray] = {"height": height, "turn": turn}

    def spot(t: float, h: float, wide: float, tall: float) -> FloatArray:
        both = np.exp(-(((np.abs(turn) - t) / wide) ** 2) - ((height - h) / tall) ** 2)
        return np.asarray(both, np.float32)

    for name, cells, seed in (("a", (5, 10), 1), ("b", (9, 18), 2), ("c", (16, 34), 3)):
        out[f"blotch_{name}"] = value_noise(shape, cells, seed)
    out["pores"] = value_noise(shape, (220, 480), 4)
    speckle = value_noise(shape, (95, 210), 5)
    face = spot(0.35, 6.98, 0.55, 0.28)
    out["freckles"] = np.clip((speckle - 0.75) * 2.2, 0, 1) * face
    out["cheeks"] = spot(0.62, 6.93, 0.30, 0.22)
    out["nose"] = spot(0.0, 6.88, 0.16, 0.12)
    out["ears"] = spot(1.6, 7.15, 0.35, 0.35)
    out["under_eye"] = spot(0.30, 7.17, 0.20, 0.055) + 0.7 * spot(0.33, 7.36, 0.26, 0.05)
    chin = np.clip((6.78 - height) / 0.12, 0, 1) * np.clip((height - 6.12) / 0.15, 0, 1)
    jaw = chin * np.clip((1.25 - np.abs(turn)) / 0.3, 0, 1)
    side = np.clip((7.15 - height) / 0.2, 0, 1) * np.exp(-(((np.abs(turn) - 1.0) / 0.16) ** 2)) * (height > 6.4)
    hairs = 0.75 + 0.25 * np.tanh(2 * value_noise(shape, (180, 420), 6))
    moustache = spot(0.10, 6.735, 0.19, 0.045)
    out["stubble"] = (np.clip(np.maximum(np.maximum(jaw, side), moustache), 0, 1) * hairs).astype(np.float32)
    out["strokes"] = _strokes(height, turn)
    out["grain"] = value_noise(shape, (60, 900), 8)
    return out


def _strokes(height: FloatArray, turn: FloatArray) -> FloatArray:
    """Brow hairs: noise sheared so that the hairs lean outwards."""
    noise = np.random.default_rng([7, 9]).standard_normal(4096).astype(np.float32)
    noise = ndimage.gaussian_filter1d(noise, 1.2, mode="wrap")
    along = np.abs(turn) * 1.0 - (height - 7.46) * (0.4 + 1.2 * np.clip(np.abs(turn) - 0.1, 0, 0.5))
    return noise[(along * 900).astype(np.int64) % 4096] / noise.std()


def _brows(look: dict[str, float], field: dict[str, FloatArray], rows: slice) -> FloatArray:
    """Opacity of the brows on some texture rows. [rows, cols]"""
    turn = np.abs(field["turn"])
    height = field["height"][rows]
    arch = (look["brow_arch"] - 0.5) * np.array([-0.02, 0.0, 0.02, 0.035, 0.02, -0.02])
    line = np.interp(turn, _BROW_TURN, _BROW_HEIGHT + arch)
    half = (0.020 + 0.026 * look["brow_weight"]) * np.interp(turn, _BROW_TURN, [0.85, 1.1, 1.0, 0.8, 0.55, 0.25])
    across = np.abs(height - line) / half
    ends = np.clip((turn - 0.095) / 0.05, 0, 1) * np.clip((0.68 - turn) / 0.08, 0, 1)
    body = np.clip(1.35 - across, 0, 1) * ends
    dense = 0.55 + 0.4 * look["brow_weight"]
    return np.clip(body * (dense + 0.17 * field["strokes"][rows]), 0, 0.96)


def skin_texture(look: dict[str, float], rows: int = 768, cols: int = 1280) -> FloatArray:
    """Paint a person's skin.

    Args:
        look: Identity traits by name.
        rows: Texture rows, heights from `LOW` to `HIGH`.
        cols: Texture columns, azimuth from -pi to pi.

    Returns:
        Albedo. [rows, cols, 3] float32
    """
    field = _fields(rows, cols)
    image = np.empty((rows, cols, 3), np.float32)
    for start in range(0, rows, _ROWS_AT_ONCE):  # what is computed with stays in the processor's cache
        here = slice(start, start + _ROWS_AT_ONCE)
        part = {name: values if values.shape[0] == 1 else values[here] for name, values in field.items()}
        _paint_skin(look, part, image[here])
    hair = hair_colour(look)
    skin = skin_colour(look)
    band = slice(int((7.30 - LOW) / (HIGH - LOW) * rows), int((7.62 - LOW) / (HIGH - LOW) * rows))
    brow = np.asarray(_brows(look, field, band), np.float32)[..., None]
    image[band] += brow * (hair * np.float32(0.75) + np.float32(0.04) * skin - image[band])
    return np.clip(image, 0, 1, out=image)


def _paint_skin(look: dict[str, float], field: dict[str, FloatArray], image: FloatArray) -> None:
    """Paint some rows of the texture, without brows, into `image`. [rows, cols, 3]"""
    skin = skin_colour(look)
    dark = np.float32(look["melanin"])
    tone = 1 + 0.035 * sum(look[f"blotch_{n}"] * field[f"blotch_{n}"] for n in "abc") + 0.012 * field["pores"]
    np.multiply(skin, np.asarray(tone, np.float32)[..., None], out=image)
    flush = look["blush"] * (0.11 * field["cheeks"] + 0.09 * field["nose"] + 0.10 * field["ears"])
    flush = flush + 0.03 * look["redness"] * field["blotch_b"]
    image *= 1 + np.asarray(flush, np.float32)[..., None] * np.array([0.25, -1.0, -0.85], np.float32)
    shade = 0.28 * look["under_eye"] * field["under_eye"]
    image *= 1 - np.asarray(shade, np.float32)[..., None] * np.array([0.8, 1.0, 0.85], np.float32)
    spots = np.float32(max(look["freckles"], 0.0) * (1 - 0.7 * dark)) * field["freckles"]
    image *= 1 - spots[..., None] * np.array([0.30, 0.46, 0.55], np.float32)
    hair = hair_colour(look)
    beard = np.float32(np.clip(look["stubble"] * (2.4 * look["male"] - 1.0), 0, 0.62)) * field["stubble"]
    shadow = 0.55 * hair + 0.45 * skin * np.array([0.62, 0.62, 0.66], np.float32)
    image += beard[..., None] * (shadow - image)
    line = hairline(field["turn"], min(look["hair_length"], 0.4), look["hairline"])
    cropped = np.clip((field["height"] - line) / 0.10, 0, 1)
    under = np.float32(0.25 if look["hair_length"] < 0.1 else 0.75) * cropped * (0.85 + 0.15 * field["grain"])
    image += np.asarray(np.clip(under, 0, 1), np.float32)[..., None] * (0.6 * hair + 0.25 * skin - image)


def sample(texture: FloatArray, azimuth: FloatArray, height: FloatArray) -> FloatArray:
    """Bilinear look-up in a texture; azimuth [P] rad, height [P] dm -> [P, C]."""
    rows, cols = texture.shape[:2]
    y = np.clip((height - LOW) * ((rows - 1) / (HIGH - LOW)), 0, rows - 1.001)
    x = (azimuth + np.pi) * (cols / (2 * np.pi))
    y0 = y.astype(np.int32)
    x0 = x.astype(np.int32)
    fy = (y - y0)[:, None].astype(np.float32)
    fx = (x - x0)[:, None].astype(np.float32)
    x0 %= cols
    x1 = (x0 + 1) % cols
    flat = texture.reshape(-1, texture.shape[2])
    low = flat[y0 * cols + x0] * (1 - fx) + flat[y0 * cols + x1] * fx
    high = flat[(y0 + 1) * cols + x0] * (1 - fx) + flat[(y0 + 1) * cols + x1] * fx
    return low + fy * (high - low)

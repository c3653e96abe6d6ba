"""The traits of a synthetic person and of an expression, and their fixed linear map to latent codes.

A person is a vector of identity traits (shape targets and colours), an expression a vector of face-unit weights. Both
are standardised and turned into the 80 + 64 code columns by one orthonormal map that never changes, so a code
determines the trait vector and with it the image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazegaussian.dimensions import EXPRESSION_DIM, IDENTITY_DIM

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Trait:
    """One number that differs between people or frames; drawn from a clipped normal around `mean`."""

    name: str
    mean: float
    spread: float
    low: float
    high: float
    more: tuple[str, ...] = ()  # shape targets added with the trait where it is positive
    less: tuple[str, ...] = ()  # shape targets added with minus the trait where it is negative


def _pair(name: str, folder: str, stem: str, more: str, less: str, spread: float = 0.3, top: float = 0.7) -> Trait:
    """A symmetric shape trait; a stem that starts with ``*-`` stands for both sides of the face."""
    stems = [stem.replace("*", side) for side in ("l", "r")] if "*" in stem else [stem]

    def paths(end: str) -> tuple[str, ...]:
        return tuple(f"{folder}/{s}-{end}" for s in stems) if end else ()

    return Trait(name, 0.0, spread, -top if less else 0.0, top, paths(more), paths(less))


def _plain(name: str, mean: float, spread: float, low: float = 0.0, high: float = 1.0) -> Trait:
    return Trait(name, mean, spread, low, high)


# Ancestry, gender, age and weight blend MakeHuman's macro targets (see `head_model`); the rest add their targets.
MACRO = (
    _plain("african", 0.4, 0.5),
    _plain("asian", 0.4, 0.5),
    _plain("caucasian", 0.4, 0.5),
    _plain("male", 0.5, 0.6),
    _plain("age", 0.2, 0.25, 0.0, 0.7),
    _plain("weight", -0.1, 0.3, -0.6, 0.6),
)
SHAPE = (
    _pair("face_fat", "head", "head-fat", "incr", "decr", 0.2, 0.45),
    _pair("head_width", "head", "head-scale-horiz", "incr", "decr", 0.15, 0.3),
    _pair("head_height", "head", "head-scale-vert", "incr", "decr", 0.12, 0.25),
    _pair("head_depth", "head", "head-scale-depth", "incr", "decr", 0.2, 0.4),
    Trait("round_or_square", 0.0, 0.25, -0.5, 0.5, ("head/head-round",), ("head/head-square",)),
    Trait("jaw_or_brow", 0.0, 0.22, -0.5, 0.5, ("head/head-triangular",), ("head/head-invertedtriangular",)),
    Trait("oval_or_long", 0.0, 0.22, -0.5, 0.5, ("head/head-oval",), ("head/head-rectangular",)),
    _pair("forehead_height", "forehead", "forehead-scale-vert", "incr", "decr", 0.2, 0.4),
    _pair("forehead_out", "forehead", "forehead-trans", "forward", "backward"),
    _pair("temples", "forehead", "forehead-temple", "incr", "decr"),
    _pair("cheek_bones", "cheek", "*-cheek-bones", "incr", "decr", 0.4, 0.9),
    _pair("cheek_volume", "cheek", "*-cheek-volume", "incr", "decr", 0.4, 0.9),
    _pair("chin_width", "chin", "chin-width", "incr", "decr", 0.35),
    _pair("chin_height", "chin", "chin-height", "incr", "decr", 0.3),
    _pair("chin_out", "chin", "chin-prominent", "incr", "decr"),
    _pair("chin_cleft", "chin", "chin-cleft", "incr", "decr"),
    _pair("nose_width", "nose", "nose-scale-horiz", "incr", "decr", 0.3, 0.6),
    _pair("nose_length", "nose", "nose-scale-vert", "incr", "decr", 0.3, 0.6),
    _pair("nose_depth", "nose", "nose-scale-depth", "incr", "decr", 0.3, 0.6),
    _pair("nose_hump", "nose", "nose-hump", "incr", "decr"),
    _pair("nose_point", "nose", "nose-point", "up", "down"),
    _pair("nose_volume", "nose", "nose-volume", "incr", "decr"),
    _pair("nose_bridge", "nose", "nose-width1", "incr", "decr"),
    _pair("nostrils", "nose", "nose-nostrils-width", "incr", "decr"),
    _pair("nose_curve", "nose", "nose-curve", "convex", "concave"),
    _pair("mouth_width", "mouth", "mouth-scale-horiz", "incr", "decr", 0.3, 0.6),
    _pair("upper_lip", "mouth", "mouth-upperlip-volume", "incr", "decr", 0.4, 0.8),
    _pair("lower_lip", "mouth", "mouth-lowerlip-volume", "incr", "decr", 0.4, 0.8),
    _pair("upper_lip_height", "mouth", "mouth-upperlip-height", "incr", "decr", 0.3),
    _pair("lower_lip_height", "mouth", "mouth-lowerlip-height", "incr", "decr", 0.3),
    _pair("cupids_bow", "mouth", "mouth-cupidsbow", "incr", "decr", 0.4),
    _pair("mouth_angles", "mouth", "mouth-angles", "up", "down", 0.25, 0.5),
    _pair("laugh_lines", "mouth", "mouth-laugh-lines", "in", "out"),
    _pair("eye_height", "eyes", "*-eye-height2", "incr", "decr", 0.2, 0.35),
    _pair("eye_inner_corner", "eyes", "*-eye-corner1", "up", "down", 0.3, 0.6),
    _pair("eye_outer_corner", "eyes", "*-eye-corner2", "up", "down", 0.3, 0.6),
    _pair("eye_fold", "eyes", "*-eye-eyefold", "up", "down", 0.25, 0.5),
    _pair("epicanthus", "eyes", "*-eye-epicanthus", "in", "out", 0.3),
    _pair("eye_bags", "eyes", "*-eye-bag", "incr", "decr", 0.3),
    _pair("eye_distance", "eyes", "*-eye-trans", "out", "in", 0.3, 0.6),
    _pair("ear_size", "ears", "*-ear-scale", "incr", "decr", 0.3, 0.6),
    _pair("ear_wing", "ears", "*-ear-wing", "incr", "decr", 0.3, 0.6),
    _pair("brow_angle", "eyebrows", "eyebrows-angle", "up", "down", 0.3, 0.6),
    _pair("neck_width", "neck", "neck-scale-horiz", "incr", "decr", 0.25, 0.5),
)
LOOKS = (
    _plain("melanin", 0.4, 0.3),
    _plain("undertone", 0.0, 0.5, -1.0, 1.0),
    _plain("redness", 0.0, 0.5, -1.0, 1.0),
    _plain("blotch_a", 0.0, 0.5, -1.0, 1.0),
    _plain("blotch_b", 0.0, 0.5, -1.0, 1.0),
    _plain("blotch_c", 0.0, 0.5, -1.0, 1.0),
    _plain("freckles", -0.1, 0.45),
    _plain("blush", 0.4, 0.3),
    _plain("lip_depth", 0.45, 0.3),
    _plain("lip_pink", 0.5, 0.3),
    _plain("stubble", 0.3, 0.4),
    _plain("iris_hue", 0.45, 0.35),
    _plain("iris_light", 0.5, 0.25),
    _plain("iris_size", 0.5, 0.25),
    _plain("pupil_size", 0.5, 0.25),
    _plain("limbal_ring", 0.5, 0.25),
    _plain("iris_fibres", 0.5, 0.25),
    _plain("sclera_veins", 0.35, 0.25),
    _plain("hair_hue", 0.4, 0.32),
    _plain("hair_grey", -0.2, 0.4),
    _plain("hair_length", 0.4, 0.45),
    _plain("hair_volume", 0.5, 0.25),
    _plain("hairline", 0.5, 0.25),
    _plain("hair_waves", 0.4, 0.3),
    _plain("hair_part", 0.0, 0.5, -1.0, 1.0),
    _plain("brow_weight", 0.5, 0.25),
    _plain("brow_arch", 0.5, 0.25),
    _plain("lashes", 0.5, 0.25),
    _plain("under_eye", 0.4, 0.25),
    _plain("shine", 0.45, 0.25),
)
IDENTITY = MACRO + SHAPE + LOOKS


def _unit(name: str, mean: float, spread: float, high: float, *stems: str, less: str = "") -> Trait:
    """An expression trait in [0, high], or in [-high, high] when `less` names the opposite units."""
    opposite = tuple(f"units/{stem}" for stem in less.split()) if less else ()
    return Trait(name, mean, spread, -high if less else 0.0, high, tuple(f"units/{stem}" for stem in stems), opposite)


EXPRESSION = (
    _unit("blink", 0.06, 0.06, 0.2, "eyeBlinkLeft", "eyeBlinkRight"),
    _unit("squint", 0.0, 0.12, 0.25, "eyeSquintLeft", "eyeSquintRight"),
    _unit("wide", 0.0, 0.15, 0.35, "eyeWideLeft", "eyeWideRight"),
    _unit("jaw_open", 0.0, 0.16, 0.4, "jawOpen"),
    _unit("jaw_side", 0.0, 0.12, 0.35, "jawLeft", less="jawRight"),
    _unit("jaw_forward", 0.0, 0.15, 0.4, "jawForward"),
    _unit("smile_left", 0.15, 0.3, 0.8, "mouthSmileLeft", less="mouthFrownLeft"),
    _unit("smile_right", 0.15, 0.3, 0.8, "mouthSmileRight", less="mouthFrownRight"),
    _unit("mouth_side", 0.0, 0.12, 0.4, "mouthLeft", less="mouthRight"),
    _unit("pucker", 0.0, 0.18, 0.6, "mouthPucker"),
    _unit("funnel", 0.0, 0.12, 0.4, "mouthFunnel"),
    _unit("stretch_left", 0.0, 0.15, 0.5, "mouthStretchLeft"),
    _unit("stretch_right", 0.0, 0.15, 0.5, "mouthStretchRight"),
    _unit("press", 0.0, 0.2, 0.6, "mouthPressLeft", "mouthPressRight"),
    _unit("dimple_left", 0.0, 0.2, 0.6, "mouthDimpleLeft"),
    _unit("dimple_right", 0.0, 0.2, 0.6, "mouthDimpleRight"),
    _unit("upper_up", 0.0, 0.12, 0.4, "mouthUpperUpLeft", "mouthUpperUpRight"),
    _unit("lower_down", 0.0, 0.12, 0.4, "mouthLowerDownLeft", "mouthLowerDownRight"),
    _unit("roll_lower", 0.0, 0.2, 0.6, "mouthRollLower"),
    _unit("roll_upper", 0.0, 0.2, 0.6, "mouthRollUpper"),
    _unit("shrug_upper", 0.0, 0.12, 0.4, "mouthShrugUpper"),
    _unit("shrug_lower", 0.0, 0.12, 0.4, "mouthShrugLower"),
    _unit("brow_down_left", 0.0, 0.3, 0.9, "browDownLeft"),
    _unit("brow_down_right", 0.0, 0.3, 0.9, "browDownRight"),
    _unit("brow_inner_up", 0.0, 0.3, 0.9, "browInnerUp"),
    _unit("brow_outer_left", 0.0, 0.3, 0.9, "browOuterUpLeft"),
    _unit("brow_outer_right", 0.0, 0.3, 0.9, "browOuterUpRight"),
    _unit("cheek_puff", 0.0, 0.15, 0.5, "cheekPuff"),
    _unit("cheek_squint", 0.0, 0.2, 0.6, "cheekSquintLeft", "cheekSquintRight"),
    _unit("sneer_left", 0.0, 0.15, 0.5, "noseSneerLeft"),
    _unit("sneer_right", 0.0, 0.15, 0.5, "noseSneerRight"),
)


def draw(traits: tuple[Trait, ...], rng: np.random.Generator) -> FloatArray:
    """Draw one value per trait. [len(traits)]"""
    mean, spread, low, high = _distribution(traits)
    return np.clip(mean + spread * rng.standard_normal(len(traits)), low, high)


@functools.cache
def _distribution(traits: tuple[Trait, ...]) -> FloatArray:
    """Mean, spread, lowest and highest value of each trait. [4, len(traits)]"""
    return np.array([(t.mean, t.spread, t.low, t.high) for t in traits]).T


def named(traits: tuple[Trait, ...], values: FloatArray) -> dict[str, float]:
    """Return trait values by name."""
    return {trait.name: float(value) for trait, value in zip(traits, values, strict=True)}


@functools.cache
def _code_map(columns: int, traits: tuple[Trait, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the fixed map [columns, traits] and the traits' mean and spread (measured: the clipping shifts both)."""
    rng = np.random.default_rng([columns, len(traits)])
    sample = np.stack([draw(traits, rng) for _ in range(2000)])
    basis, _ = np.linalg.qr(rng.standard_normal((columns, len(traits))))
    return basis * np.sqrt(columns / len(traits)), sample.mean(0), sample.std(0)


def latent_code(identity: FloatArray, expression: FloatArray, width: int = 306) -> FloatArray:
    """Map traits to the latent code of the file format.

    Args:
        identity: One value per trait of `IDENTITY`.
        expression: One value per trait of `EXPRESSION`.
        width: Columns; those after the first 144 are zero, since they are not read.

    Returns:
        [:80] identity, [80:144] expression, each with about unit variance. [width] float32
    """
    code = np.zeros(width, np.float32)
    for values, traits, start, columns in (
        (identity, IDENTITY, 0, IDENTITY_DIM),
        (expression, EXPRESSION, IDENTITY_DIM, EXPRESSION_DIM),
    ):
        basis, mean, spread = _code_map(columns, traits)
        # Weighted sums one by one: a BLAS product may round differently with another number of threads.
        code[start : start + columns] = (basis * ((values - mean) / spread)).sum(1)
    return code

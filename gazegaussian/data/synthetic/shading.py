"""Shade one synthetic image: skin, eyes, mouth and hair, with labels of what each pixel shows.

Light and view directions are brought into the head frame, so normals are computed once per frame for all cameras.
Colours are display RGB; lighting is a wrapped diffuse term without a hard terminator, a sky term dimmed by ambient
occlusion and a faint highlight.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gazegaussian.data.synthetic.base_mesh import LEFT_EYE, MOUTH, RIGHT_EYE, TEETH, TONGUE
from gazegaussian.data.synthetic.head_model import (
    NeutralHead,
    gaze_rotation,
    head_model,
    normal_operator,
    unit_sphere,
    vertex_normals,
)
from gazegaussian.data.synthetic.landmarks import lid_margin, lip_mask, occlusion
from gazegaussian.data.synthetic.paint import AXIS_Z, hair_colour, lip_colour, sample, skin_texture
from gazegaussian.data.synthetic.raster import Visible, visible
from gazegaussian.data.synthetic.rig import Light
from gazegaussian.data.synthetic.surface import dot, hair_colours, illuminate, shade_eye, unit
from gazegaussian.data.synthetic.touch_up import hair_gaps, islands, loose_bits, mend_eyes

FloatArray = NDArray[np.floating]

SUPERSAMPLING = 2
HAIR = 100  # label of hair pixels, beside the parts of the base mesh
_COVERS_EARS = 0.45  # hair length from which the ears are under the hair
_EAR = 0.25  # model units that an ear may stick out of it
_SHADOW = 0.4  # brightness between hair and skin, of the hair's colour
_BALD = 0.10  # hair length below which there is no shell, only cropped hair painted on the skin


@dataclass(frozen=True)
class Person:
    """What is painted once per person."""

    look: dict[str, float]
    texture: NDArray[np.float32]  # [rows, cols, 3] albedo
    hair_offset: NDArray[np.float32]  # [K, 3] hair volume, head frame, model units


@dataclass(frozen=True)
class Frame:
    """Geometry of one frame in the head frame, shared by its cameras."""

    skin: FloatArray  # [V, 3]
    skin_normals: FloatArray  # [V, 3]
    hair: FloatArray | None  # [K, 3]
    hair_normals: FloatArray | None  # [K, 3]
    eye_centres: FloatArray  # [2, 3]
    eye_radii: FloatArray  # [2]
    eye_rotation: FloatArray  # [3, 3] gaze


@dataclass(frozen=True)
class Pixels:
    """One finished image."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB over white
    head: NDArray[np.bool_]  # [H, W]
    eyes: NDArray[np.bool_]  # [2, H, W] visible eyeball of the person's left eye, then the right


@functools.cache
def _fixed() -> tuple[NDArray[np.float32], NDArray[np.int32], FloatArray, NDArray[np.int8]]:
    """Painted vertex attributes [V + balls, 7], all triangles, the unit ball and the part of each triangle."""
    base = head_model().base
    ball, ball_faces = unit_sphere()
    count = len(base.vertices)
    paint = np.zeros((count + 2 * len(ball), 7), np.float32)
    paint[:count] = np.column_stack([base.vertices, lip_mask(), lid_margin().max(1), lid_margin()[:, 0], occlusion()])
    paint[count:, :3] = np.concatenate([ball, ball])
    faces = np.concatenate([base.triangles, ball_faces + count, ball_faces + count + len(ball)]).astype(np.int32)
    eyes = np.repeat([LEFT_EYE, RIGHT_EYE], len(ball_faces))
    return paint, faces, ball, np.concatenate([base.part[base.triangles].max(1), eyes]).astype(np.int8)


@functools.cache
def _operators() -> tuple:
    model = head_model()
    return (
        normal_operator(model.base.triangles, len(model.base.vertices)),
        normal_operator(model.hair.triangles, len(model.hair.canonical)),
    )


def paint_person(look: dict[str, float], units_per_dm: float) -> Person:
    """Paint a person's texture and grow the hair."""
    shell = head_model().hair
    thick = shell.thickness(look["hair_length"], look["hair_volume"], look["hairline"])
    part = 1 + 0.25 * look["hair_part"] * np.sign(shell.azimuth) * np.clip(1.2 - np.abs(shell.azimuth), 0, 1)
    offset = shell.outward * (thick * part)[:, None] * units_per_dm
    return Person(look, skin_texture(look), offset.astype(np.float32))


def make_frame(person: Person, head: NeutralHead, skin: FloatArray, gaze: FloatArray) -> Frame:
    """Compute what all cameras of a frame share."""
    model = head_model()
    skin_operator, hair_operator = _operators()
    hair = hair_normals = None
    if person.look["hair_length"] > _BALD:
        hair = head.hair + person.hair_offset
        hair_normals = vertex_normals(hair, model.hair.triangles, hair_operator)
    normals = vertex_normals(skin, model.base.triangles, skin_operator)
    return Frame(skin, normals, hair, hair_normals, head.eye_centres, head.eye_radii, gaze_rotation(gaze))


def shade(
    person: Person, frame: Frame, rotation: FloatArray, translation: FloatArray, focal: float, size: int, light: Light
) -> Pixels:
    """Render one image.

    Args:
        person: Texture and looks.
        frame: Geometry in the head frame.
        rotation: Head frame to camera, with the head's scale. [3, 3]
        translation: Head frame to camera. [3]
        focal: Focal length in pixels of the finished image; the principal point is its middle.
        size: Width and height of the finished image.
        light: The camera's light; its direction is in the camera frame.

    Returns:
        The image and its masks.
    """
    paint, faces, ball, part_of_face = _fixed()
    side = size * SUPERSAMPLING
    unscale = rotation / np.linalg.norm(rotation[0])
    toward_light = (unscale.T @ light.direction).astype(np.float32)
    centre = -(rotation.T @ translation) / (rotation[0] @ rotation[0])
    toward_view = (centre / np.linalg.norm(centre)).astype(np.float32)

    balls = [c + r * ball for c, r in zip(frame.eye_centres, frame.eye_radii, strict=True)]
    vertices = np.concatenate([frame.skin, *balls])
    normals = np.concatenate([frame.skin_normals, ball, ball])
    xy, depth = _project(vertices, rotation, translation, focal * SUPERSAMPLING, side)
    seen = visible(xy, depth, faces, np.concatenate([normals, paint], 1, dtype=np.float32), side, side)
    part = part_of_face[seen.faces]
    colour = _shade_surface(person, frame, seen, part, toward_light, toward_view, light)
    canvas = np.ones((side * side, 3), np.float32)
    canvas[seen.pixels] = colour
    label = np.full(side * side, -1, np.int8)
    label[seen.pixels] = part
    if frame.hair is not None and frame.hair_normals is not None:
        _add_hair(
            person, frame, canvas, label, seen, rotation, translation, focal, side, toward_light, toward_view, light
        )
    mend_eyes(canvas.reshape(side, side, 3), label.reshape(side, side), (LEFT_EYE, RIGHT_EYE))
    return _finish(canvas, label, size, _SHADOW * hair_colour(person.look))


def _project(
    points: FloatArray, rotation: FloatArray, translation: FloatArray, focal: float, side: int
) -> tuple[FloatArray, FloatArray]:
    """Pixel positions [V, 2] and depth [V]."""
    camera = np.einsum("ij,vj->vi", rotation, points) + translation
    return camera[:, :2] * (focal / camera[:, 2:]) + (side / 2 - 0.5), camera[:, 2]


def _shade_surface(
    person: Person,
    frame: Frame,
    seen: Visible,
    part: NDArray[np.int8],
    toward_light: NDArray[np.float32],
    toward_view: NDArray[np.float32],
    light: Light,
) -> NDArray[np.float32]:
    """Colour of skin, eyes and mouth at the covered pixels. [P, 3]"""
    look = person.look
    values = seen.values
    normal = unit(values[:, :3])
    x = values[:, 3]
    y = values[:, 4]
    z = values[:, 5]
    lips = values[:, 6:7]
    margin = values[:, 7:8]
    upper = values[:, 8:9]
    sky = values[:, 9]
    azimuth = np.arctan2(x, z - AXIS_Z)
    colour = sample(person.texture, azimuth, y)
    streaks = 1 + 0.03 * np.sin(x * 220 + 3 * np.sin(x * 45))[:, None]
    colour += np.clip(lips * 1.3 - 0.15, 0, 1) * (lip_colour(look) * streaks - colour)
    lash = np.clip(margin * 0.25 + upper * (0.45 + 0.5 * look["lashes"]), 0, 0.93)
    colour += lash * (np.array([0.09, 0.065, 0.055], np.float32) - colour)
    flesh = np.array([0.50, 0.17, 0.16], np.float32)
    for kind, paint in ((MOUTH, flesh), (TEETH, np.array([0.88, 0.85, 0.78])), (TONGUE, np.array([0.72, 0.36, 0.35]))):
        colour[part == kind] = paint
    lit = illuminate(normal, toward_light, light, np.clip(sky * 1.08, 0, 1))
    # Light scattered in the skin reddens the shade.
    lit *= 1 + np.clip(0.75 - lit[:, 1:2], 0, 1) * np.array([0.16, -0.02, -0.07], np.float32)
    half = toward_light + toward_view
    shine = np.clip(dot(normal, half / np.linalg.norm(half)), 0, 1) ** 22
    gloss = (0.05 + 0.10 * look["shine"]) * (1 + 1.2 * lips[:, 0]) * sky * (part < MOUTH) * light.strength
    colour = (colour * lit + (gloss * shine)[:, None]).astype(np.float32)
    for index, kind in enumerate((LEFT_EYE, RIGHT_EYE)):
        here = part == kind
        if here.any():
            colour[here] = shade_eye(
                look, frame.eye_rotation, index, unit(values[here, 3:6]), toward_light, toward_view, light
            )
    return np.clip(colour, 0, 1)


def _add_hair(
    person: Person,
    frame: Frame,
    canvas: NDArray[np.float32],
    label: NDArray[np.int8],
    under: Visible,
    rotation: FloatArray,
    translation: FloatArray,
    focal: float,
    side: int,
    toward_light: NDArray[np.float32],
    toward_view: NDArray[np.float32],
    light: Light,
) -> None:
    """Draw the hair shell over `canvas` and `label`, cut at the hairline by strands."""
    assert frame.hair is not None
    assert frame.hair_normals is not None
    look = person.look
    shell = head_model().hair
    xy, depth = _project(frame.hair, rotation, translation, focal * SUPERSAMPLING, side)
    paint = np.column_stack([frame.hair_normals, shell.down, shell.azimuth, shell.canonical[:, 1]]).astype(np.float32)
    edge, inner = shell.kept(look["hair_length"], look["hairline"])
    behind = np.full(side * side, np.inf, np.float32)
    behind[under.pixels] = under.depth
    for triangles in (inner, edge):  # the outer layer last, over what shows through its cuts
        seen = visible(xy, depth, triangles, paint, side, side)
        over = seen.depth - behind[seen.pixels]  # positive: behind the skin
        colour, keep = hair_colours(look, seen.values, toward_light, toward_view, light)
        front = over < 0.004
        if look["hair_length"] > _COVERS_EARS:
            stick_out = np.zeros(side * side, bool)
            stick_out[seen.pixels[keep & ~front & (over < _EAR)]] = True
            front |= islands(stick_out.reshape(side, side)).ravel()[seen.pixels]
        keep &= front
        canvas[seen.pixels[keep]] = colour[keep]
        label[seen.pixels[keep]] = HAIR


def _finish(canvas: NDArray[np.float32], label: NDArray[np.int8], size: int, shadow: NDArray[np.float32]) -> Pixels:
    """Mend the silhouette (see `touch_up`) and average the supersamples; `shadow` [3] is seen between hair and skin."""
    s = SUPERSAMPLING
    samples = canvas.reshape(size, s, size, s, 3)
    blocks = label.reshape(size, s, size, s)
    head = (blocks >= 0).sum((1, 3)) * 2 >= s * s
    gaps = hair_gaps(head, (blocks == HAIR).any((1, 3)))
    head |= gaps
    if gaps.any():
        dark = ndimage.binary_dilation(gaps, np.ones((3, 3))) & head  # also what shows through the rims of the gaps
        samples[dark[:, None, :, None] & (blocks < 0)] = shadow
    image = samples.mean((1, 3))
    loose = loose_bits(head)
    image[loose] = 1.0
    head &= ~loose
    eyes = np.stack([(blocks == kind).any((1, 3)) for kind in (LEFT_EYE, RIGHT_EYE)])
    return Pixels(np.round(image * 255).astype(np.uint8), head, eyes)

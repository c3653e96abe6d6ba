"""Synthetic multi-view heads with exact labels in the published HDF5 layout; `synthetic_set` writes them.

Person i of a data set depends on (seed, i) alone, so the number of workers and of people does not change anybody. All cameras of a frame
share head pose, gaze and expression, as in ETH-XGaze; with fewer than 18, other cameras see another frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gazegaussian.data.synthetic.head_model import UNITS_PER_DM, head_model, rotation_xyz
from gazegaussian.data.synthetic.landmarks import landmark_vertices, tracked_vertices
from gazegaussian.data.synthetic.rig import CAMERAS, chosen_cameras, rig_camera
from gazegaussian.data.synthetic.shading import Frame, Person, Pixels, make_frame, paint_person, shade
from gazegaussian.data.synthetic.traits import EXPRESSION, IDENTITY, draw, latent_code, named
from gazegaussian.errors import DataError

FloatArray = NDArray[np.floating]

GENERATOR_VERSION = 3
GAZE_PITCH = np.radians(25.0)
GAZE_YAW = np.radians(30.0)
HEAD_PITCH_DEG = 12.0
HEAD_YAW_DEG = 20.0
# Of the test people few views each: an interval for other people needs many people.
TEST_PEOPLE = 40
TEST_FRAMES = 2
TEST_CAMERAS = 2
_RANGES = {
    "people": (1, 9999),
    "size": (16, 4096),
    "frames": (1, 1000),
    "cameras": (1, CAMERAS),
    "test_people": (0, 9999),
}


@dataclass(frozen=True)
class SyntheticSettings:
    """What a synthetic data set depends on.

    Attributes:
        people: Subjects of training and validation; about every fifth, at least one, is for validation.
        size: Image width and height in pixels.
        seed: Another seed gives other people.
        frames: Frames (head pose, gaze, expression) per person.
        cameras: Views per frame; with fewer than the rig's 18, another choice for every frame.
        test_people: Further subjects for testing, made when the split `test` is first read; 0 divides the validation people
            as in other data sets.
        generator: Version of the program that makes the heads.

    Raises:
        DataError: A setting is out of range.
    """

    people: int
    size: int
    seed: int = 0
    frames: int = 3
    cameras: int = CAMERAS
    test_people: int = TEST_PEOPLE
    generator: int = GENERATOR_VERSION

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise DataError(f"Synthetic heads: {name} is {value}, expected {low} to {high}")

    @property
    def test(self) -> SyntheticSettings:
        """Settings of the test people, which neither the number of the others nor that of their images changes."""
        return replace(self, frames=TEST_FRAMES, cameras=TEST_CAMERAS)

    @property
    def folder(self) -> str:
        """Folder name of this data set."""
        return f"synthetic_v{self.generator}_p{self.people}_s{self.size}_seed{self.seed}_f{self.frames}_c{self.cameras}"

    def tag(self) -> str:
        """What one subject file depends on (not the number of people)."""
        shared = {name: value for name, value in asdict(self).items() if name not in ("people", "test_people")}
        return json.dumps(shared, sort_keys=True)


@dataclass(frozen=True)
class Subject:
    """A person with the head model's neutral shape."""

    identity: FloatArray  # traits
    person: Person
    scale: float  # head to world


@dataclass(frozen=True)
class FrameLabels:
    """The labels that a frame's cameras share."""

    expression: FloatArray  # traits
    gaze: FloatArray  # [2] pitch, yaw (rad), head frame
    pose: FloatArray  # [6] head to world: axis-angle (rad), translation
    rotation: FloatArray  # [3, 3] of `pose`


def render_person(settings: SyntheticSettings, index: int) -> dict[str, NDArray]:
    """Make all arrays of one person.

    Args:
        settings: The data set.
        index: The person's number.

    Returns:
        Arrays [frames * cameras, ...] by key of the published layout.
    """
    frames = list(render_frames(settings, index))
    return {key: np.concatenate([frame[key] for frame in frames]) for key in frames[0]}


def render_frames(
    settings: SyntheticSettings, index: int, choose_cameras: Callable[[], Iterable[int]] | None = None
) -> Iterator[dict[str, NDArray]]:
    """Render a person frame by frame.

    Args:
        settings: The data set.
        index: The person's number.
        choose_cameras: Called once per frame for the cameras to render; default `chosen_cameras`.

    Yields:
        Arrays [cameras, ...] by key of the published layout, one dict per frame.
    """
    rng = np.random.default_rng([settings.seed, index])
    model = head_model()
    identity = draw(IDENTITY, rng)
    head = model.neutral(identity)
    subject = Subject(identity, paint_person(named(IDENTITY, identity), UNITS_PER_DM), float(rng.uniform(0.95, 1.05)))
    for number in range(index * settings.frames, (index + 1) * settings.frames):
        labels = draw_frame(rng)
        skin = model.express(head, labels.expression, labels.gaze)
        frame = make_frame(subject.person, head, skin, labels.gaze)
        cameras = choose_cameras() if choose_cameras else chosen_cameras(settings.seed, number, settings.cameras)
        rows = [render_view(subject, labels, frame, int(camera), settings.size) for camera in cameras]
        yield {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def draw_frame(rng: np.random.Generator) -> FrameLabels:
    """Draw expression, gaze and head pose of a frame."""
    gaze = rng.uniform([-GAZE_PITCH, -GAZE_YAW], [GAZE_PITCH, GAZE_YAW])
    pitch, yaw, roll = np.radians(
        rng.uniform([-HEAD_PITCH_DEG, -HEAD_YAW_DEG, -5.0], [HEAD_PITCH_DEG, HEAD_YAW_DEG, 5.0])
    )
    rotation = rotation_xyz(pitch, yaw, roll)
    return FrameLabels(
        expression=draw(EXPRESSION, rng),
        gaze=gaze,
        pose=np.concatenate([_axis_angle(rotation), rng.uniform(-0.06, 0.06, 3)]),
        rotation=rotation,
    )


def render_view(subject: Subject, labels: FrameLabels, frame: Frame, camera: int, size: int) -> dict[str, NDArray]:
    """Render one camera of a frame and compute its labels (arrays without the leading dimension)."""
    rig = rig_camera(camera)
    rotation = rig.rotation @ labels.rotation
    scaled = subject.scale * rotation
    translation = rig.rotation @ labels.pose[3:] + rig.translation
    focal = rig.focal * size
    pixels = shade(subject.person, frame, scaled, translation, focal, size, rig.light)
    landmarks = frame.skin[landmark_vertices()] @ scaled.T + translation
    forward = rotation[:, 2]
    left, right = _eye_masks(pixels, frame, scaled, translation)
    return {
        "face_patch": pixels.image[..., ::-1],
        "head_mask": pixels.head.astype(np.uint8) * 255,
        "left_eye_mask": left,
        "right_eye_mask": right,
        "facial_landmarks": landmarks[:, :2] / landmarks[:, 2:] * focal + (size / 2 - 0.5),
        "facial_landmarks_3d": landmarks,
        "vertice": frame.skin[tracked_vertices()] @ scaled.T + translation,
        "w2c_Rmat": rig.rotation,
        "w2c_Tvec": rig.translation,
        "inmat": np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]),
        "pose": labels.pose,
        "scale": np.array([subject.scale]),
        "latent_codes": latent_code(subject.identity, labels.expression),
        "pitchyaw_head": labels.gaze,
        "face_head_pose": np.array([np.arcsin(-forward[1]), np.arctan2(forward[0], -forward[2])]),
        "cam_index": np.array([camera], np.uint8),
    }


def _eye_masks(
    pixels: Pixels, frame: Frame, rotation: FloatArray, translation: FloatArray
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Eye openings with a small lid margin, the one on the left of the image first."""
    grow = max(1, round(pixels.head.shape[0] / 128))
    masks = [
        ndimage.binary_dilation(eye, iterations=grow) & pixels.head if eye.any() else np.zeros_like(eye)
        for eye in pixels.eyes
    ]
    camera = frame.eye_centres @ rotation.T + translation
    across = camera[:, 0] / camera[:, 2]
    left, right = (masks[i].astype(np.uint8) * 255 for i in np.argsort(across))
    return left, right


def _axis_angle(rotation: FloatArray) -> FloatArray:
    """Axis-angle vector of a rotation of less than half a turn. [3]"""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine = np.linalg.norm(axis) / 2
    cosine = (np.trace(rotation) - 1) / 2
    return axis / (2 * sine) * np.arctan2(sine, cosine) if sine > 1e-12 else np.zeros(3)

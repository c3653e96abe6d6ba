"""The synthetic heads: exact labels, codes that determine images, reproducible files."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from gazegaussian.data.hdf5 import HeadDataset
from gazegaussian.data.schema import KEYS
from gazegaussian.data.synthetic.dataset import ensure_synthetic, split_of, synthesize
from gazegaussian.data.synthetic.generator import FrameLabels, Subject, SyntheticSettings, render_person, render_view
from gazegaussian.data.synthetic.head_model import UNITS_PER_DM, gaze_rotation, gaze_vector, head_model, rotation_xyz
from gazegaussian.data.synthetic.landmarks import landmark_vertices, tracked_vertices
from gazegaussian.data.synthetic.rig import CAMERAS, chosen_cameras, rig_camera
from gazegaussian.data.synthetic.shading import make_frame, paint_person
from gazegaussian.data.synthetic.traits import EXPRESSION, IDENTITY, _code_map, draw, latent_code, named
from gazegaussian.errors import DataError

SIZE = 96
SETTINGS = SyntheticSettings(people=1, size=SIZE, seed=11, frames=2, cameras=4)


@pytest.fixture(scope="module")
def person() -> dict[str, np.ndarray]:
    return render_person(SETTINGS, 0)


def mean_person(**looks: float) -> np.ndarray:
    values = {trait.name: trait.mean for trait in IDENTITY} | looks
    return np.array([values[trait.name] for trait in IDENTITY])


def view(identity: np.ndarray, gaze: np.ndarray, size: int, camera: int = 0, expression=None, scale=1.0, pose=None):
    """Render one image of given traits; the head is upright in the world unless `pose` says otherwise."""
    model = head_model()
    head = model.neutral(identity)
    traits = np.zeros(len(EXPRESSION)) if expression is None else expression
    subject = Subject(identity, paint_person(named(IDENTITY, identity), UNITS_PER_DM), scale)
    rotation, vector = (np.eye(3), np.zeros(6)) if pose is None else pose
    labels = FrameLabels(traits, gaze, vector, rotation)
    frame = make_frame(subject.person, head, model.express(head, traits, gaze), gaze)
    return render_view(subject, labels, frame, camera, size), frame


def project(points: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Head frame to pixels with the labels alone (scale 1, no head pose)."""
    camera = points @ arrays["w2c_Rmat"].T + arrays["w2c_Tvec"]
    return (camera @ arrays["inmat"].T)[..., :2] / camera[..., 2:] - 0.5


def test_published_layout(person) -> None:
    assert set(person) == {key.name for key in KEYS}
    n = SETTINGS.frames * SETTINGS.cameras
    known = {"H": SIZE, "W": SIZE, None: None}
    for key in KEYS:
        shape = person[key.name].shape
        assert shape[0] == n
        for got, want in zip(shape[1:], (known[s] if not isinstance(s, int) else s for s in key.shape), strict=True):
            assert want is None or got == want, key.name
    assert person["vertice"].shape[1] == 3500
    for mask in ("head_mask", "left_eye_mask", "right_eye_mask"):
        assert set(np.unique(person[mask])) <= {0, 255}
    outside = person["face_patch"][person["head_mask"] == 0]
    assert (outside == 255).all(-1).mean() > 0.9  # white but for the anti-aliased rim


def test_3d_landmarks_project_to_the_2d_ones(person) -> None:
    pixels = np.einsum("nij,nkj->nki", person["inmat"], person["facial_landmarks_3d"])
    np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:] - 0.5, person["facial_landmarks"], atol=1e-9)


def test_cameras_of_a_frame_see_one_head(person) -> None:
    """World landmarks agree between cameras, and undoing pose and scale gives one face per person."""
    world = np.einsum(
        "nji,nkj->nki", person["w2c_Rmat"], person["facial_landmarks_3d"] - person["w2c_Tvec"][:, None]
    ).reshape(SETTINGS.frames, SETTINGS.cameras, 68, 3)
    np.testing.assert_allclose(world, world[:, :1].repeat(SETTINGS.cameras, 1), atol=1e-9)
    for key in ("pose", "pitchyaw_head", "latent_codes", "scale"):
        values = person[key].reshape(SETTINGS.frames, SETTINGS.cameras, -1)
        assert (values == values[:, :1]).all()
    chosen = [chosen_cameras(SETTINGS.seed, frame, SETTINGS.cameras) for frame in range(SETTINGS.frames)]
    assert (person["cam_index"].reshape(SETTINGS.frames, -1) == chosen).all()
    nose = []
    for frame in range(SETTINGS.frames):
        pose = person["pose"][frame * SETTINGS.cameras]
        scale = person["scale"][frame * SETTINGS.cameras]
        angle = np.linalg.norm(pose[:3])
        x, y, z = pose[:3] / angle
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        nose.append(((world[frame, 0] - pose[3:]) / scale @ rotation)[27])
    np.testing.assert_allclose(nose[0], nose[1], atol=0.05)  # the root of the nose hardly moves with expressions


def test_head_pose_label_is_the_face_normal_in_the_camera(person) -> None:
    arrays, _ = view(mean_person(), np.zeros(2), 32)
    np.testing.assert_allclose(arrays["face_head_pose"], [0, 0], atol=1e-12)  # frontal
    turn = rotation_xyz(0, 0.3, 0)
    arrays, _ = view(mean_person(), np.zeros(2), 32, pose=(turn, np.array([0, 0.3, 0, 0, 0, 0])))
    np.testing.assert_allclose(arrays["face_head_pose"], [0, 0.3], atol=1e-12)
    raised = rotation_xyz(-0.2, 0, 0)
    arrays, _ = view(mean_person(), np.zeros(2), 32, pose=(raised, np.array([-0.2, 0, 0, 0, 0, 0])))
    np.testing.assert_allclose(arrays["face_head_pose"], [0.2, 0], atol=1e-12)


@pytest.mark.parametrize("camera", range(CAMERAS))
def test_cameras_are_rigid_and_look_at_the_head(camera: int) -> None:
    rig = rig_camera(camera)
    np.testing.assert_allclose(rig.rotation @ rig.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rig.rotation) == pytest.approx(1)
    assert 9.9 <= np.linalg.norm(rig.translation) <= 12
    centre = -rig.rotation.T @ rig.translation
    assert centre[2] > 5  # in front of the face


def test_gaze_rotation_turns_forward_into_the_gaze_vector() -> None:
    for gaze in np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)):
        rotation = gaze_rotation(gaze)
        np.testing.assert_allclose(rotation @ [0, 0, 1], gaze_vector(gaze), atol=1e-12)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert gaze_vector(np.array([0.2, 0.3]))[1] > 0  # positive pitch looks up
    assert gaze_vector(np.array([0.2, 0.3]))[0] > 0  # positive yaw looks to the image right of a frontal face


@pytest.mark.parametrize("gaze", [(0, 0), (20, 0), (-18, 0), (0, 28), (0, -28), (15, 22), (-12, -25)])
@pytest.mark.parametrize("camera", [0, 1, 9])
def test_the_pupil_is_where_the_gaze_label_points(gaze: tuple[float, float], camera: int) -> None:
    """The pixel at (eye centre + radius * gaze vector) is pupil-dark; the mirrored direction is not."""
    pitchyaw = np.radians(gaze)
    arrays, frame = view(mean_person(iris_hue=1.0, iris_light=1.0, melanin=0.1, lashes=0.0), pitchyaw, 384, camera)
    image = arrays["face_patch"].astype(float).max(-1)
    mask = arrays["left_eye_mask"] | arrays["right_eye_mask"]
    for centre, radius in zip(frame.eye_centres, frame.eye_radii, strict=True):
        x, y = np.rint(project(centre + radius * gaze_vector(pitchyaw), arrays)).astype(int)
        assert mask[y, x] == 255
        assert np.median(image[y - 1 : y + 2, x - 1 : x + 2]) < 60
        if abs(gaze[1]) > 20:
            x, y = np.rint(project(centre + radius * gaze_vector(-pitchyaw), arrays)).astype(int)
            assert image[y, x] > 60


def test_lids_follow_the_vertical_gaze_and_never_sink_into_the_eyeball() -> None:
    model = head_model()
    ids = landmark_vertices()
    rng = np.random.default_rng(5)
    for _ in range(8):
        head = model.neutral(draw(IDENTITY, rng))
        expression = draw(EXPRESSION, rng)
        heights = []
        for pitch in np.radians([-25, 0, 25]):
            skin = model.express(head, expression, np.array([pitch, 0.0]))
            right = np.linalg.norm(skin[ids[[37, 38, 40, 41]]] - head.eye_centres[1], axis=1) / head.eye_radii[1]
            assert (right > 0.99).all()
            heights.append((skin[ids[[37, 38]], 1].mean(), skin[ids[[40, 41]], 1].mean()))
        upper, lower = np.array(heights).T
        assert (np.diff(upper) > 0.02).all()
        assert (np.diff(lower) > 0.005).all()
        assert (upper - lower > 0.02).all()  # never shut


def test_landmarks_are_in_ibug_order() -> None:
    arrays, _ = view(mean_person(), np.zeros(2), 192)
    x, y = arrays["facial_landmarks"].T
    assert len(set(landmark_vertices())) == 68
    assert (np.diff(x[:17]) > 0).all()  # jaw from the left of the image to the right
    assert y[:17].argmax() == 8  # over the chin
    assert (np.diff(x[17:27]) > 0).all()
    assert (np.diff(y[27:31]) > 0).all()
    assert (np.diff(x[31:36]) > 0).all()
    assert y[17:27].max() < y[36:48].min() < y[36:48].max() < y[31:36].min() < y[48:68].min()
    for eye, mask in ((range(36, 42), "left_eye_mask"), (range(42, 48), "right_eye_mask")):
        inside = arrays[mask][np.rint(y[eye]).astype(int), np.rint(x[eye]).astype(int)]
        assert (inside == 255).all()
        rows, columns = np.nonzero(arrays[mask])
        assert abs(columns.mean() - x[eye].mean()) < 2
        assert abs(rows.mean() - y[eye].mean()) < 2
    mirrored = [(0, 16), (17, 26), (36, 45), (39, 42), (37, 44), (31, 35), (48, 54), (60, 64)]
    for left, right in mirrored:
        assert x[left] + x[right] == pytest.approx(2 * x[8], abs=1.5)
        assert y[left] == pytest.approx(y[right], abs=1.5)
    assert y[62] < y[66] + 0.5  # upper lip above the lower one


def test_every_hundredth_tracked_vertex_is_spread_over_face_and_head() -> None:
    anchors = head_model().canonical[tracked_vertices()[::100]]
    assert len(anchors) == 35
    gaps = np.linalg.norm(anchors[:, None] - anchors[None], axis=-1) + 9 * np.eye(35)
    assert gaps.min() > 0.15
    assert (np.ptp(anchors, axis=0) > [1.3, 1.8, 1.7]).all()


def test_heads_fit_the_models_box() -> None:
    shell = head_model().hair
    model = head_model()
    low = np.array([-1.6, -1.7, -2.5])
    high = np.array([1.6, 1.8, 1.0])
    for i in range(60):
        rng = np.random.default_rng([2, i])
        identity = draw(IDENTITY, rng)
        look = named(IDENTITY, identity)
        head = model.neutral(identity)
        thick = shell.thickness(look["hair_length"], look["hair_volume"], look["hairline"])
        points = np.concatenate(
            [
                model.express(head, draw(EXPRESSION, rng), rng.uniform(-0.4, 0.4, 2)),
                head.hair + shell.outward * thick[:, None] * UNITS_PER_DM,
            ]
        )
        assert (points > low).all()
        assert (points < high).all()
        np.testing.assert_allclose(head.eye_centres.mean(0)[0], 0, atol=1e-6)


def test_codes_are_standardised_dense_and_determine_the_image() -> None:
    rng = np.random.default_rng(3)
    codes = np.stack([latent_code(draw(IDENTITY, rng), draw(EXPRESSION, rng)) for _ in range(300)])
    assert codes.shape == (300, 306)
    assert (codes[:, 144:] == 0).all()
    assert 0.8 < codes[:, :80].std() < 1.2
    assert 0.8 < codes[:, 80:144].std() < 1.2
    assert (codes[:, :144] != 0).all()

    identity = draw(IDENTITY, rng)
    expression = draw(EXPRESSION, rng)
    gaze = np.array([0.1, -0.2])
    code = latent_code(identity, expression).astype(float)
    decoded = []
    for traits, start, columns in ((IDENTITY, 0, 80), (EXPRESSION, 80, 64)):
        basis, mean, spread = _code_map(columns, traits)
        decoded.append(np.linalg.lstsq(basis, code[start : start + columns], rcond=None)[0] * spread + mean)
    first = view(identity, gaze, 64, expression=expression)[0]["face_patch"].astype(int)
    again = view(decoded[0], gaze, 64, expression=decoded[1])[0]["face_patch"].astype(int)
    assert np.abs(first - again).max() <= 12  # float32 codes: a strand of hair may fall a subpixel elsewhere
    assert np.abs(first - again).mean() < 0.02


def test_people_differ_and_seeds_differ(person) -> None:
    other = render_person(SETTINGS, 1)
    reseeded = render_person(SyntheticSettings(**{**SETTINGS.__dict__, "seed": 12}), 0)
    for stranger in (other, reseeded):
        assert np.abs(stranger["latent_codes"][0, :80] - person["latent_codes"][0, :80]).max() > 0.5
        assert np.abs(stranger["face_patch"][0].astype(int) - person["face_patch"][0]).mean() > 3
    assert (person["latent_codes"][:, :80] == person["latent_codes"][0, :80]).all()


def test_gaze_labels_fill_their_range() -> None:
    from gazegaussian.data.synthetic.generator import draw_frame

    rng = np.random.default_rng(0)
    gaze = np.degrees([draw_frame(rng).gaze for _ in range(400)])
    assert (np.abs(gaze).max(0) < [25, 30]).all()
    assert (np.abs(gaze).max(0) > [23.5, 28]).all()
    assert (np.abs(gaze.mean(0)) < 3).all()


@pytest.mark.parametrize("people", [1, 2, 4, 5, 11])
def test_validation_people_are_never_training_people(people: int) -> None:
    split = split_of(people)
    assert set(split["train"]).isdisjoint(split["val"])
    assert len(split["train"]) + len(split["val"]) == people
    assert len(split["val"]) == max(1, people // 5)


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def test_files_are_reproducible_resumable_and_readable(tmp_path: Path) -> None:
    """The same people bit for bit in two processes or in one, whatever the number of people."""
    settings = SyntheticSettings(people=2, size=32, seed=4, frames=1, cameras=3)
    more = replace(settings, people=3)
    two = ensure_synthetic(tmp_path, settings, progress=False, workers=2)
    three = synthesize(tmp_path / "three", more, progress=False)
    for i in range(2):
        one, other = (contents(folder / f"xgaze_subject{i:04d}.h5") for folder in (two, three))
        for key, values in one.items():
            assert np.array_equal(values, other[key]), key
            assert values.dtype in (np.uint8, np.float32)
    assert json.loads((two / "synthetic.json").read_text())["seed"] == 4
    dataset = HeadDataset(two, "train", 32)
    assert len(dataset) == 3
    assert dataset[0]["landmarks_3d"].shape == (68 + 35, 3)

    stamps = {path.name: path.stat().st_mtime_ns for path in three.glob("*.h5")}
    torn = three / "xgaze_subject0001.h5"
    torn.write_bytes(torn.read_bytes()[:1000])
    synthesize(three, more, progress=False)
    changed = {path.name for path in three.glob("*.h5") if path.stat().st_mtime_ns != stamps[path.name]}
    assert changed == {"xgaze_subject0001.h5"}
    stamp = (two / "xgaze_subject0000.h5").stat().st_mtime_ns
    assert ensure_synthetic(tmp_path, settings, progress=False) == two
    assert (two / "xgaze_subject0000.h5").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("setting", [{"people": 0}, {"size": 8}, {"frames": 0}, {"cameras": 19}])
def test_settings_out_of_range_say_so(setting: dict[str, int]) -> None:
    (name, value) = next(iter(setting.items()))
    with pytest.raises(DataError, match=f"{name} is {value}, expected"):
        SyntheticSettings(**{"people": 1, "size": 32, **setting})

"""The frozen networks as they are shipped: files, gradients, and what they read on people nobody trained on."""

from functools import partial

import numpy as np
import pytest
import torch

from gazegaussian.data.synthetic.generator import GENERATOR_VERSION, SyntheticSettings, render_frames
from gazegaussian.data.synthetic.rig import CAMERAS
from gazegaussian.errors import CheckpointError
from gazegaussian.geometry.gaze import angular_error
from gazegaussian.models import frozen
from gazegaussian.models.eye_crop import STEADY_LANDMARKS, crop_eyes, layout
from gazegaussian.models.frozen import FrozenNetwork, load_frozen
from gazegaussian.reference_networks.train import mirror

torch.set_num_threads(1)
NAMES = ("guide", "judge")
FRESH_SEED = 77_077
PEOPLE = 6
SIZE = 256


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return load_frozen(request.param)


def two_cameras(rng):
    return rng.permutation(CAMERAS)[:2].tolist()


@pytest.fixture(scope="module")
def fresh():
    """Images, landmarks, gaze and head pose of people of a seed of their own, each frame by two cameras at random."""
    rng = np.random.default_rng(FRESH_SEED)
    columns: dict[str, list[np.ndarray]] = {}
    for person in range(PEOPLE):
        chooser = partial(two_cameras, rng)
        for views in render_frames(SyntheticSettings(PEOPLE, SIZE, FRESH_SEED, frames=3), person, chooser):
            for key in ("face_patch", "facial_landmarks", "pitchyaw_head", "face_head_pose"):
                columns.setdefault(key, []).append(np.asarray(views[key]))
    arrays = {key: torch.from_numpy(np.concatenate(rows)) for key, rows in columns.items()}
    image = arrays.pop("face_patch").flip(-1).permute(0, 3, 1, 2).float() / 255
    return {"image": image, **{key: value.float() for key, value in arrays.items()}}


def picture(seed=0, size=128):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def landmarks(size=128):
    return torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(1)) * size / 2 + size / 4


def test_people_of_guide_judge_test_and_studies_differ():
    seeds = [load_frozen(name).metadata["seed"] for name in NAMES]
    seeds += [load_frozen(name).metadata["test_seed"] for name in NAMES[:1]]
    assert len({*seeds, "0", str(FRESH_SEED)}) == 5  # studies use seed 0
    assert load_frozen("guide").metadata["test_seed"] == load_frozen("judge").metadata["test_seed"]


def test_header_tells_what_was_measured(network):
    assert network.metadata["name"] == network.name
    assert 2 <= int(network.metadata["generator"]) <= GENERATOR_VERSION  # on what it reads today: see below
    assert int(network.metadata["images"]) >= int(network.metadata["people"]) > 100
    assert 0 < float(network.metadata["gaze_error_deg_256px"]) <= 3
    assert network.metadata["seed"] in network.description


def test_architectures_differ():
    kinds = [{type(module).__name__ for module in load_frozen(name).modules()} for name in NAMES]
    assert "PlainBlock" in kinds[0] - kinds[1]
    assert "ResidualBlock" in kinds[1] - kinds[0]


def test_gradients_flow_to_the_image_and_not_to_the_weights(network):
    assert not network.training
    image = picture().requires_grad_()
    readings = {
        "gaze": network.gaze(image, landmarks()),
        "head_pose": network.head_pose(image),
        "perceptual": network.perceptual(image, picture(1)),
    }
    for name, value in readings.items():
        (gradient,) = torch.autograd.grad(value.sum(), image)
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
    assert all(not p.requires_grad and p.grad is None for p in network.parameters())


def test_reading_changes_no_state(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = network.gaze(picture(), landmarks())
    network.perceptual(picture(1), picture(2))
    assert torch.equal(network.gaze(picture(), landmarks()), first)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_perceptual_distance_is_one(network):
    a = picture()
    b = picture(1)
    assert network.perceptual(a, a).item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(network.perceptual(a, b), network.perceptual(b, a))
    slightly = (a + 0.02 * picture(2)).clamp(0, 1)
    assert 0 < network.perceptual(a, slightly).item() < network.perceptual(a, b).item()
    pair = network.perceptual(torch.cat([a, b]), torch.cat([slightly, a]))
    torch.testing.assert_close(pair[:1], network.perceptual(a, slightly), atol=1e-5, rtol=1e-4)


def test_gaze_is_read_from_the_eyes_and_not_from_the_lids_landmarks(network, fresh):
    image = fresh["image"][:2]
    points = fresh["facial_landmarks"][:2]
    read = network.gaze(image, points)
    moved = points.clone()
    moved[:, [row for row in range(68) if row not in STEADY_LANDMARKS]] += 7.0
    assert torch.equal(network.gaze(image, moved), read)
    covered = image.clone()
    covered[:, :, 40:160] = 0.5
    assert (network.gaze(covered, points) - read).abs().max() > 0.02


def test_errors_on_fresh_people(network, fresh):
    with torch.no_grad():
        gaze = network.gaze(fresh["image"], fresh["facial_landmarks"])
        head = network.head_pose(fresh["image"])
    wanted = fresh["pitchyaw_head"]
    error = angular_error(gaze, wanted).rad2deg().mean().item()
    head_error = angular_error(head, fresh["face_head_pose"]).rad2deg().mean().item()
    ignorant = angular_error(wanted.mean(0, keepdim=True), wanted).rad2deg().mean().item()
    assert error <= 4.0
    assert error < 0.4 * ignorant
    assert head_error <= 4.0
    # The header tells the truth: weights that do not fit the code read, but badly.
    assert error < 1.5 * float(network.metadata["gaze_error_deg_256px"])
    assert head_error < 1.5 * float(network.metadata["head_pose_error_deg"])
    for axis in range(2):
        assert torch.corrcoef(torch.stack([gaze[:, axis], wanted[:, axis]]))[0, 1] > 0.9


def test_a_mirrored_training_image_is_the_crop_of_the_mirrored_picture(fresh):
    image = fresh["image"][:2]
    points = fresh["facial_landmarks"][:2]
    gaze = fresh["pitchyaw_head"][:2]
    given = crop_eyes(image, points), layout(points)[0], gaze
    flipped = points * torch.tensor([-1.0, 1.0]) + torch.tensor([SIZE - 1.0, 0.0])
    order = [*range(16, -1, -1), *range(17, 27), *range(27, 31), *range(35, 30, -1)]  # brows are not looked at
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, *range(48, 68)]
    wanted = crop_eyes(image.flip(-1), flipped[:, order]), layout(flipped[:, order])[0]
    crops, steady, turned = mirror(*given, torch.tensor([True, False]))
    torch.testing.assert_close(crops[0], wanted[0][0], atol=1e-3, rtol=0)
    torch.testing.assert_close(steady[0], wanted[1][0], atol=1e-5, rtol=0)
    assert turned[0].tolist() == (gaze[0] * torch.tensor([1.0, -1.0])).tolist()
    for value, same in zip((crops, steady, turned), given, strict=True):
        assert torch.equal(value[1], same[1])


def test_missing_weights_say_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match=r"No weights at .*reference_networks\.train guide"):
        load_frozen("guide")


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "other"])
def test_damaged_weights_are_refused(tmp_path, monkeypatch, damage):
    whole = (frozen.WEIGHTS / "judge.safetensors").read_bytes()
    content = {"empty": b"", "noise": b"\0" * 300, "cut": whole[: len(whole) // 2], "other": whole}[damage]
    (tmp_path / "guide.safetensors").write_bytes(content)
    monkeypatch.setattr(frozen, "WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_frozen("guide")


def test_several_images_share_one_reference():
    network = load_frozen("guide")
    images = torch.cat([picture(i) for i in range(4)])
    references = torch.cat([picture(i) for i in (7, 8)])
    single = [network.perceptual(images[i : i + 1], references[i % 2 : i % 2 + 1]) for i in range(4)]
    torch.testing.assert_close(network.perceptual(images, references), torch.cat(single), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_folded_normalisations_change_nothing(name):
    torch.manual_seed(0)
    network = FrozenNetwork(name).eval()
    for module in network.modules():  # statistics and weights as after a training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2), module.bias.data.normal_()
    before = (*network.face_readings(picture(0)), network.perceptual(picture(1), picture(2)))
    network.fold()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    after = (*network.face_readings(picture(0)), network.perceptual(picture(1), picture(2)))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, atol=1e-4, rtol=1e-4)

"""Geometry stays in full precision under autocast (rotations, gaze and head frame: test_geometry_rotations.py)."""

import pytest
import torch
from synthetic_support import batch

from gazegaussian.geometry.cameras import project_points
from gazegaussian.geometry.heads import head_to_world, turned_to, world_to_head
from gazegaussian.geometry.rotations import axis_angle_to_matrix, matrix_to_quat, quat_to_matrix, rotate_about
from gazegaussian.models.image_offsets import ImageOffsets


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


POINTS = random(2, 30, 3)
POSE = random(2, 6, seed=1)
SCALE = random(2, 1, seed=2).abs() + 0.5
QUATS = torch.nn.functional.normalize(random(2, 4, seed=3), dim=-1)
CALLS = {
    "head_to_world": lambda: head_to_world(POINTS, POSE, SCALE),
    "world_to_head": lambda: world_to_head(POINTS, POSE, SCALE),
    "turned_to": lambda: turned_to(POSE, QUATS[:, :2]),
    "project_points": lambda: project_points(POINTS, batch(2).cameras),
    "rotate_about": lambda: rotate_about(POINTS, QUATS, POINTS[0, 0]),
    "axis_angle_to_matrix": lambda: axis_angle_to_matrix(POSE[:, :3]),
    "quat_to_matrix": lambda: quat_to_matrix(QUATS),
    "matrix_to_quat": lambda: matrix_to_quat(axis_angle_to_matrix(POSE[:, :3])),
}


@pytest.mark.parametrize("name", CALLS)
def test_autocast_does_not_touch_geometry(name):
    exact = CALLS[name]()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(CALLS[name](), exact)


def test_autocast_does_not_touch_cameras():
    rows = batch(2)
    offsets = ImageOffsets(4)
    with torch.no_grad():
        offsets.rotation.fill_(0.01)
    _, exact = offsets.of(rows.index).apply_to(rows.parameters, rows.cameras)
    with torch.autocast("cpu", torch.bfloat16):
        _, moved = offsets.of(rows.index).apply_to(rows.parameters, rows.cameras)
    assert torch.equal(moved.rotation, exact.rotation)
    assert torch.equal(moved.translation, exact.translation)


def test_image_offsets_start_without_effect_and_act_on_their_own_image():
    rows = batch(2)
    offsets = ImageOffsets(4)
    parameters, cameras = offsets.of(rows.index).apply_to(rows.parameters, rows.cameras)
    assert torch.equal(parameters.shape_code, rows.parameters.shape_code)
    torch.testing.assert_close(cameras.rotation, rows.cameras.rotation)
    with torch.no_grad():
        for parameter in offsets.parameters():
            parameter[1] = 0.1
    parameters, cameras = offsets.of(rows.index).apply_to(rows.parameters, rows.cameras)
    changed = (parameters.shape_code - rows.parameters.shape_code).abs().amax(1).detach()
    assert changed[0] == 0
    assert changed[1] > 0.05
    moved = (cameras.translation - rows.cameras.translation).abs().amax(1).detach()
    assert moved[0] == 0
    assert moved[1].item() == pytest.approx(0.1, abs=1e-5)
    identity = torch.eye(3).expand(2, 3, 3)
    torch.testing.assert_close(cameras.rotation @ cameras.rotation.transpose(1, 2), identity, atol=1e-5, rtol=0)
    assert not torch.allclose(cameras.rotation[1], rows.cameras.rotation[1], atol=1e-2)

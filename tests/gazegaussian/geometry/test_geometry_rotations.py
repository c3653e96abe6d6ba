"""Rotations, gaze angles and the head frame, by property."""

import math

import pytest
import torch

from gazegaussian.geometry.gaze import angular_error, head_pitchyaw, pitchyaw_to_vector, vector_to_pitchyaw
from gazegaussian.geometry.heads import head_to_world, world_to_head
from gazegaussian.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_quat,
    quat_multiply,
    quat_to_matrix,
    rotate_about,
)
from gazegaussian.types import Cameras


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def unit_quats(count, seed=0):
    return torch.nn.functional.normalize(random(count, 4, seed=seed), dim=-1)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 1.0, math.pi - 1e-6, 3.0 * math.pi])
def test_exponential_map_is_a_rotation_by_the_angle_about_the_axis(angle):
    axis = torch.nn.functional.normalize(random(3), dim=0)
    matrix = axis_angle_to_matrix(axis * angle)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.det(matrix).item() == pytest.approx(1.0)
    torch.testing.assert_close(matrix @ axis, axis, atol=1e-9, rtol=0)
    side = torch.linalg.cross(axis, random(3, seed=1))
    side = side / side.norm()
    expected = math.cos(angle) * side + math.sin(angle) * torch.linalg.cross(axis, side)
    torch.testing.assert_close(matrix @ side, expected, atol=1e-9, rtol=0)


def test_gradient_of_the_exponential_map_at_rest_is_the_cross_product():
    axis_angle = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    point = random(3)
    rows = [torch.autograd.grad((axis_angle_to_matrix(axis_angle) @ point)[i], axis_angle)[0] for i in range(3)]
    expected = torch.stack([torch.linalg.cross(e, point) for e in torch.eye(3, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(torch.stack(rows), expected, atol=1e-8, rtol=0)


def test_quaternions_are_wxyz():
    turn = math.pi / 3
    quat = torch.tensor([math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)], dtype=torch.float64)
    expected = axis_angle_to_matrix(torch.tensor([0.0, 0.0, turn], dtype=torch.float64))
    torch.testing.assert_close(quat_to_matrix(quat), expected)


def test_quaternion_of_a_matrix_comes_back_up_to_sign():
    quats = unit_quats(200)
    back = matrix_to_quat(quat_to_matrix(quats))
    torch.testing.assert_close((back * quats).sum(-1).abs(), torch.ones(200, dtype=torch.float64))


def test_quaternion_product_is_the_matrix_product():
    a = unit_quats(50, 1)
    b = unit_quats(50, 2)
    torch.testing.assert_close(quat_to_matrix(quat_multiply(a, b)), quat_to_matrix(a) @ quat_to_matrix(b))
    torch.testing.assert_close(quat_multiply(a[:1], b).shape, b.shape)


def test_rotation_about_a_centre_is_rigid_and_keeps_the_centre():
    points = random(2, 30, 3)
    centre = random(3, seed=3)
    quats = unit_quats(2)
    moved = rotate_about(points, quats, centre)
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points))
    kept = rotate_about(centre.expand(2, 1, 3), quats, centre)
    torch.testing.assert_close(kept, centre.expand(2, 1, 3))
    matrix = quat_to_matrix(quats[0])
    torch.testing.assert_close(moved[0, 0], matrix @ (points[0, 0] - centre) + centre)


def test_directions_and_vectors_are_inverse():
    pitchyaw = torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.8 - 1.4
    vector = pitchyaw_to_vector(pitchyaw)
    torch.testing.assert_close(vector.norm(dim=-1), torch.ones(100, dtype=torch.float64))
    torch.testing.assert_close(vector_to_pitchyaw(3.0 * vector), pitchyaw)
    up, left = pitchyaw_to_vector(torch.tensor([[0.3, 0.0], [0.0, 0.3]]))
    # Head frame: y up, z out of the face, x to the right of the image.
    assert up[1] > 0
    assert up[0] == 0
    assert left[0] > 0
    assert left[1] == 0


def test_angular_error_is_the_angle():
    a = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 0.0], [0.1, -0.4]], dtype=torch.float64)
    b = torch.tensor([[0.0, 0.5], [-0.3, 0.0], [0.0, math.pi], [0.1, -0.4]], dtype=torch.float64)
    expected = torch.tensor([0.5, 0.5, math.pi, 0.0], dtype=torch.float64)
    torch.testing.assert_close(angular_error(a, b), expected, atol=2e-7, rtol=0)
    torch.testing.assert_close(angular_error(a, b), angular_error(b, a))


def test_gradient_of_the_angular_error_is_finite_everywhere_and_right_elsewhere():
    same = random(20, 2, scale=0.5)
    for other in (same, same + torch.tensor([0.0, math.pi]), same + random(20, 2, seed=1, scale=0.3)):
        a = same.clone().requires_grad_()
        angular_error(a, other).sum().backward()
        assert torch.isfinite(a.grad).all()
        assert a.grad.abs().max() <= 1.0 + 1e-6  # an angle cannot grow faster than the pitch turns
    a = torch.zeros(1, 2, requires_grad=True)  # cross product exactly zero
    angular_error(a, torch.zeros(1, 2)).sum().backward()
    assert torch.isfinite(a.grad).all()
    a = same.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: angular_error(x, same + 0.2), (a,))


def look_at_cameras(rotation):
    return Cameras(rotation, rotation.new_zeros(len(rotation), 3), torch.eye(3).expand(len(rotation), 3, 3), 64, 64)


def test_head_direction_in_the_camera():
    # A camera in front of the face: its x is the head's x, its y looks down, its z into the face.
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(3, 3, 3)
    turns = torch.tensor([[0.0, 0.0, 0.0], [-0.3, 0.0, 0.0], [0.0, 0.4, 0.0]])  # about x: nose up; about y: nose to +x
    pose = torch.cat([turns, torch.randn(3, 3, generator=torch.Generator().manual_seed(0))], dim=1)
    expected = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 0.4]])
    torch.testing.assert_close(head_pitchyaw(pose, look_at_cameras(facing)), expected, atol=1e-6, rtol=0)


def test_turning_camera_and_head_together_changes_nothing():
    pose = torch.cat([random(4, 3, scale=0.5), random(4, 3, seed=1)], dim=1)
    camera = axis_angle_to_matrix(random(4, 3, seed=2))
    turn = axis_angle_to_matrix(random(4, 3, seed=3))
    quat = matrix_to_quat(turn @ axis_angle_to_matrix(pose[:, :3]))
    angle = 2 * torch.atan2(quat[:, 1:].norm(dim=-1), quat[:, 0])
    turned = torch.cat([torch.nn.functional.normalize(quat[:, 1:], dim=-1) * angle[:, None], pose[:, 3:]], dim=1)
    before = head_pitchyaw(pose, look_at_cameras(camera))
    after = head_pitchyaw(turned, look_at_cameras(camera @ turn.transpose(1, 2)))
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)


def test_head_frame_and_world():
    points = random(3, 20, 3)
    pose = random(3, 6, seed=1)
    scale = random(3, 1, seed=2).abs() + 0.5
    world = head_to_world(points, pose, scale)
    torch.testing.assert_close(world_to_head(world, pose, scale), points)
    one = scale[1] * axis_angle_to_matrix(pose[1, :3]) @ points[1, 4] + pose[1, 3:]
    torch.testing.assert_close(world[1, 4], one)
    torch.testing.assert_close(torch.cdist(world, world), torch.cdist(points, points) * scale[:, :, None])

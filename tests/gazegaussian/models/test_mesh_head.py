"""MeshHead: geometry, regions, eyes, batches, export; its losses."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import trimesh
from mesh_head_support import (
    CONFIG,
    acting_head,
    face_landmarks,
    losses_of,
    one_thread,
    random_batch,
    random_parameters,
)

from gazegaussian.config import MeshHeadLoss
from gazegaussian.errors import NonFiniteError
from gazegaussian.geometry.heads import world_to_head
from gazegaussian.geometry.rotations import rotate_about
from gazegaussian.geometry.tetrahedra import BOX_MAX, BOX_MIN
from gazegaussian.models import mesh_head as mesh_head_module
from gazegaussian.models.branches import EYE_DEPTH, EYE_LANDMARKS, eye_quaternions, falloff, nearest_squared
from gazegaussian.models.mesh_head import MeshHead


@pytest.fixture(scope="module", autouse=True)
def trained():
    with one_thread():
        yield acting_head()


def fresh(trained):
    model = MeshHead(CONFIG)
    model.load_state_dict(trained.state_dict())
    return model


def test_warm_start_gives_one_closed_head_around_the_landmarks():
    torch.manual_seed(3)
    model = MeshHead(CONFIG)
    model.initialise_landmarks(face_landmarks())
    residual = model.warm_start(150)
    assert residual < 0.05
    neutral = model.neutral_mesh()
    mesh = trimesh.Trimesh(neutral.vertices.detach().numpy(), neutral.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert mesh.body_count == 1
    distance = nearest_squared(face_landmarks(), neutral.vertices).sqrt()
    assert distance.median() < 0.3


def warm_started(seed=0, steps=5, points=0):
    torch.manual_seed(seed)
    model = MeshHead(CONFIG)
    model.initialise_landmarks(face_landmarks())
    return model, model.warm_start(steps, points)


def test_warm_start_is_reproducible_and_leaves_no_gradients(monkeypatch):
    (model, residual), copied = warm_started(), warm_started()
    monkeypatch.setattr(mesh_head_module, "_last_fit", None)
    computed = warm_started()
    assert residual == copied[1] == computed[1]
    for name, tensor in model.geometry.state_dict().items():
        assert torch.equal(tensor, copied[0].geometry.state_dict()[name])
        assert torch.equal(tensor, computed[0].geometry.state_dict()[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_fit_is_copied_for_the_same_beginning_alone(monkeypatch):
    fits = []
    fit = MeshHead._fit
    monkeypatch.setattr(mesh_head_module, "_last_fit", None)
    monkeypatch.setattr(MeshHead, "_fit", lambda self, *args: fits.append(args) or fit(self, *args))
    model, _ = warm_started()
    model.geometry.requires_grad_(False)
    for parameter in model.geometry.parameters():
        parameter.zero_()  # training goes on from it, which spoils no copy
    warm_started()
    assert fits == [(5, 0)]
    warm_started(seed=1)
    warm_started(seed=1, steps=4)
    warm_started(seed=1, steps=4, points=7)
    assert fits == [(5, 0), (5, 0), (4, 0), (4, 7)]


def test_shapes_frames_and_ranges(trained):
    parameters = random_parameters(3)
    output = trained(parameters)
    vertices = output.vertices.shape[1]
    assert output.colors.shape == (3, vertices, 32)
    assert output.landmarks.shape == (3, 70, 3)
    assert output.landmark_sdf.shape == (70,)
    assert output.faces.min() == 0
    assert output.faces.max() == vertices - 1
    assert output.colors.min() >= 0
    assert output.colors.max() <= 1
    in_head = world_to_head(output.vertices, parameters.pose, parameters.scale)
    torch.testing.assert_close(in_head, output.neutral_vertices + output.displacement, atol=1e-5, rtol=0)


def test_samples_of_a_batch_do_not_see_each_other(trained):
    parameters = random_parameters(3)
    together = trained(parameters)
    for i in range(3):
        alone = trained(parameters.rows([i]))
        for name in ("vertices", "colors", "landmarks", "displacement"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i], atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(trained):
    model = fresh(trained)
    sum(losses_of(model, random_batch(), MeshHeadLoss()).values()).backward()
    outputs = model.geometry.layers[-1].bias.grad  # signed distance, offsets and every feature
    assert (outputs != 0).all()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_every_parameter_gets_a_gradient_from_the_start():
    torch.manual_seed(0)
    model = MeshHead(CONFIG)
    model.initialise_landmarks(face_landmarks())
    model.warm_start(100)
    sum(losses_of(model, random_batch(), MeshHeadLoss()).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_head_starts_close_to_its_neutral_geometry():
    torch.manual_seed(0)
    model = MeshHead(CONFIG)
    model.initialise_landmarks(face_landmarks())
    model.warm_start(50)
    assert model(random_parameters(2)).displacement.norm(dim=-1).max() < 0.15


def test_expression_stays_near_the_landmarks_and_pose_takes_the_rest(trained):
    points = trained.neutral_mesh().vertices.detach()
    squared = nearest_squared(points, trained.landmarks_3d_neutral)
    one = random_parameters(1, 1)
    two = random_parameters(1, 2)
    base, _ = trained.deform(points, one)
    expression, _ = trained.deform(points, replace(one, shape_code=two.shape_code))
    posed, _ = trained.deform(points, replace(one, pose=two.pose))
    moved_by_expression = (expression - base)[0].norm(dim=-1)
    moved_by_pose = (posed - base)[0].norm(dim=-1)
    far = squared > 0.25
    near = squared < 0.1
    assert far.any()
    assert near.any()
    assert moved_by_expression[far].max() == 0
    assert moved_by_expression[near].max() > 1e-3
    assert moved_by_pose[near].max() < 1e-6
    assert moved_by_pose[far].max() > 1e-3


def test_falloff_of_influence():
    squared = torch.tensor([0.0, 0.1, 0.175, 0.25, 3.0])
    torch.testing.assert_close(falloff(squared, 0.1, 0.25), torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))


def eyes_only(trained):
    """Without expression and pose offsets."""
    model = fresh(trained)
    with torch.no_grad():
        for branch in (model.branches.shape_deform, model.branches.pose_deform):
            branch.layers[-1].weight.zero_()
            branch.layers[-1].bias.zero_()
    return model


def test_each_eye_turns_rigidly_about_its_own_centre(trained):
    model = eyes_only(trained)
    landmarks = model.landmarks_3d_neutral.detach()
    parameters = random_parameters(2)
    behind = torch.tensor([0.0, 0.0, EYE_DEPTH])
    centres = torch.stack([landmarks[list(eye)].mean(0) - behind for eye in EYE_LANDMARKS])
    quats = eye_quaternions(model.branches.eye_rotation, centres, parameters.gaze)
    assert (quats[:, 0] - quats[:, 1]).abs().amax(-1).min() > 1e-3  # each eye has its own turn,
    assert (quats[0] - quats[1]).abs().amax(-1).min() > 1e-3  # each sample its own gaze
    generator = torch.Generator().manual_seed(0)
    for i, eye in enumerate(EYE_LANDMARKS):
        rim = landmarks[list(eye)]
        points = rim.repeat(4, 1) + 0.02 * torch.randn(24, 3, generator=generator)  # well inside the eye's own region
        moved, displacement = model.deform(points, parameters)
        assert displacement.norm(dim=-1).amax() > 1e-3
        expected = torch.stack([rotate_about(points, quats[b, i], centres[i]) for b in range(2)])
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
        for sample in moved:
            torch.testing.assert_close(torch.cdist(sample, sample), torch.cdist(points, points), atol=1e-4, rtol=0)
        reach = (rim - centres[i]).norm(dim=-1)  # a rotation about the centre keeps the distances from it
        turned = (model.deform(rim, parameters)[0] - centres[i]).norm(dim=-1)
        torch.testing.assert_close(turned, reach.expand(2, -1), atol=1e-5, rtol=0)


def test_gaze_colours_both_eyes_and_nothing_else(trained):
    one = random_parameters(1)
    landmarks = trained.landmarks_3d_neutral.detach()
    features = torch.randn(70, 128, generator=torch.Generator().manual_seed(0))
    other = replace(one, gaze=one.gaze + 0.4)
    change = (trained.color(landmarks, features, other) - trained.color(landmarks, features, one))[0].abs().amax(-1)
    eyes = landmarks[[row for eye in EYE_LANDMARKS for row in eye]]
    assert change[36:48].min() > 1e-4
    assert change[nearest_squared(landmarks, eyes) > 0.05].max() == 0


def test_gaze_moves_nothing_but_the_eyes(trained):
    points = trained.neutral_mesh().vertices.detach()
    one = random_parameters(1)
    other = replace(one, gaze=one.gaze + 0.4)
    moved = (trained.deform(points, other)[0] - trained.deform(points, one)[0])[0].norm(dim=-1)
    eyes = trained.landmarks_3d_neutral[[row for eye in EYE_LANDMARKS for row in eye]]
    assert moved[nearest_squared(points, eyes) > 0.05].max() == 0
    landmarks = (
        trained.deform(trained.landmarks_3d_neutral, other)[0] - trained.deform(trained.landmarks_3d_neutral, one)[0]
    )[0]
    still = [row for row in range(70) if not any(row in eye for eye in EYE_LANDMARKS)]
    far = nearest_squared(trained.landmarks_3d_neutral[still], eyes) > 0.05
    assert landmarks[still][far].abs().max() == 0
    assert landmarks[36:48].norm(dim=-1).min() > 1e-4


def test_the_distance_alone_is_that_of_the_whole_query(trained):
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(trained.distance(points), trained.query(points)[0], atol=1e-6, rtol=1e-5)


def test_offsets_stay_within_a_cell_and_distances_within_one(trained):
    distance, offset, features = trained.query(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 2)
    assert offset.abs().max() <= 1 / CONFIG.grid_resolution
    assert distance.abs().max() <= 1
    assert features.shape == (500, 128)
    assert features.abs().max() <= 1


def test_chunks_of_the_grid_change_nothing(trained, monkeypatch):
    whole = trained.neutral_mesh()
    monkeypatch.setattr(mesh_head_module, "GRID_CHUNK", 100)
    parts = trained.neutral_mesh()
    assert torch.equal(whole.faces, parts.faces)
    torch.testing.assert_close(whole.vertices, parts.vertices)


def test_deform_and_color_give_what_forward_gives(trained):
    parameters = random_parameters(2)
    output = trained(parameters)
    neutral = trained.neutral_mesh()
    torch.testing.assert_close(trained.deform(neutral.vertices, parameters)[1], output.displacement, atol=1e-6, rtol=0)
    colors = trained.color(neutral.vertices, neutral.features, parameters)
    torch.testing.assert_close(colors, output.colors, atol=1e-6, rtol=0)


def test_weights_alone_carry_the_head(trained):
    parameters = random_parameters(1)
    ours = trained(parameters)
    copy = fresh(trained)(parameters)
    for field in fields(ours):
        assert torch.equal(getattr(ours, field.name), getattr(copy, field.name)), field.name


def test_geometry_stays_in_single_precision_under_autocast(trained):
    parameters = random_parameters(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = trained(parameters)
    exact = trained(parameters)
    assert torch.equal(output.neutral_vertices, exact.neutral_vertices)
    assert torch.equal(output.landmark_sdf, exact.landmark_sdf)
    assert output.vertices.dtype == output.colors.dtype == torch.float32
    torch.testing.assert_close(output.vertices, exact.vertices, atol=0.02, rtol=0)


@pytest.mark.parametrize("shift", [100.0, -100.0])
def test_a_surface_remains_whatever_the_network_says(trained, shift):
    model = fresh(trained)
    with torch.no_grad():
        model.geometry.layers[-1].bias[0] += shift
    output = model(random_parameters(1))
    assert len(output.faces) > 0
    sdf = model.query(output.neutral_vertices)[0]
    assert sdf.abs().max() < 0.3, "vertices lie on the bounded zero level"
    vertices = output.neutral_vertices
    assert (vertices >= torch.tensor(BOX_MIN)).all()
    assert (vertices <= torch.tensor(BOX_MAX)).all()


def test_weights_that_are_not_finite_say_what_to_change(trained):
    model = fresh(trained)
    with torch.no_grad():
        model.geometry.layers[-1].bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"not finite.*Lower lr"):
        model(random_parameters(1))


@pytest.mark.parametrize("name", ["head.ply", "deep/er/head.obj"])
def test_exported_mesh_reads_back(trained, tmp_path, name):
    parameters = random_parameters(1)
    path = trained.export_neutral(tmp_path / name, parameters)
    mesh = trimesh.load(path, process=False, force="mesh")
    neutral = trained.neutral_mesh()
    np.testing.assert_allclose(mesh.vertices, neutral.vertices.detach().numpy(), atol=1e-5)
    assert np.array_equal(mesh.faces, neutral.faces.numpy())
    rgb = trained.color(neutral.vertices, neutral.features, parameters)[0, :, :3].detach().numpy()
    np.testing.assert_allclose(np.asarray(mesh.visual.vertex_colors)[:, :3] / 255, rgb, atol=1.01 / 255)


def test_one_batch_can_be_overfitted():
    torch.manual_seed(0)
    model = MeshHead(CONFIG)
    batch = random_batch(1)
    model.initialise_landmarks(face_landmarks())
    model.warm_start(100)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    first: float | None = None
    for _ in range(60):
        optimizer.zero_grad()
        loss = sum(losses_of(model, batch, MeshHeadLoss()).values())
        first = loss.item() if first is None else first
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.5 * first

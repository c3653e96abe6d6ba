"""GazeGaussian's streams, its stage, its checkpoints."""

import math
from dataclasses import replace

import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage, heads, jiggle, mesh_run, mesh_stage, train, without_gradient

from gazegaussian.config import OptimConfig
from gazegaussian.models.branches import EYE_LANDMARKS
from gazegaussian.models.gaze_gaussian import GazeGaussian
from gazegaussian.models.streams import eye_membership
from gazegaussian.training.gaze_gaussian_stage import load_gaze_gaussian
from gazegaussian.training.mesh_head_stage import load_mesh_head
from gazegaussian.types import HeadParameters

OTHER_WIDTHS = {"shape_mlp_width": 24, "pose_mlp_width": 12, "eye_mlp_width": 20, "grid_resolution": 14}
SEARCHED = {
    "lr": 2e-3,
    "eye_lr_mult": 2.0,
    "dit_depth": 4,
    "dit_num_heads": 8,
    "dit_patch_size": 8,
    "vgg_importance": 0.2,
    "eye_loss_importance": 2.0,
    "gaze_loss_importance": 0.2,
    "orthogonality_loss_importance": 0.1,
}


def model() -> GazeGaussian:
    return gaze_stage().model


def gazes(parameters: HeadParameters, *pitchyaws) -> HeadParameters:
    rows = parameters.rows([0] * len(pitchyaws))
    return replace(rows, gaze=torch.tensor(pitchyaws))


def stream_weights(stage):
    """Everything of both streams in one vector; its length does not depend on the renderer."""
    return torch.cat([p.detach().flatten() for s in (stage.model.face, stage.model.eyes) for p in s.parameters()])


def distances(points):
    return (points[:, :, None] - points[:, None]).norm(dim=-1)


# The eyes.


def test_each_point_is_in_exactly_one_eye_or_in_the_face():
    stage = gaze_stage()
    landmarks = torch.zeros(stage.model.mesh_config.landmarks, 3)
    eye_rows = [row for eye in EYE_LANDMARKS for row in eye]
    landmarks[eye_rows] = stage.model.eyes.landmarks
    side = stage.model.eyes.side
    means = stage.model.eyes.means.detach()
    assert (eye_membership(stage.model.face.means.detach(), landmarks) == -1).all()
    assert torch.equal(side, eye_membership(means, landmarks))
    assert set(side.tolist()) == {0, 1}
    # The image-left eye is at smaller x, and every point is on its own eye's side of the nose.
    middle = landmarks[eye_rows, 0].mean()
    assert torch.equal(means[:, 0] > middle, side == 1)


def test_each_eye_turns_rigidly_about_its_own_centre():
    eyes = model().eyes
    jiggle(eyes.eye_rotation)
    parameters = gazes(batch(1).parameters, (0.3, -0.4), (-0.2, 0.5))
    turned, quats = eyes.rotate(parameters)
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones_like(quats[..., 0]))
    for i in range(2):
        rows = eyes.side == i
        other = eyes.centres[1 - i]
        before = eyes.means[rows].expand(2, -1, -1)
        torch.testing.assert_close(distances(turned[:, rows]), distances(before), atol=1e-5, rtol=0)
        reach = (before - eyes.centres[i]).norm(dim=-1)
        torch.testing.assert_close((turned[:, rows] - eyes.centres[i]).norm(dim=-1), reach)
        moved = (turned[:, rows] - before).norm(dim=-1).amax(1)
        assert (moved > 1e-3).all()
        assert ((turned[:, rows] - other).norm(dim=-1) - (before - other).norm(dim=-1)).abs().max() > 1e-3
        assert torch.equal(quats[:, rows], quats[:, rows][:, :1].expand_as(quats[:, rows]))
    assert not torch.allclose(turned[0], turned[1], atol=1e-3)  # every sample by its own gaze


def test_eyes_begin_where_they_are_however_the_mesh_head_turned_them():
    mesh_head = mesh_stage(mesh_run()).module
    jiggle(mesh_head.branches.eye_rotation, 1.0)
    eyes = gaze_stage(gaze_run(), mesh_head).model.eyes
    quats = eyes.rotate(gazes(batch(1).parameters, (0.3, -0.4), (-0.2, 0.5), (0.0, 0.0)))[1]
    assert quats[..., 0].min() > math.cos(math.radians(3) / 2)


def test_gaze_moves_the_eyes_alone():
    stage = gaze_stage()
    jiggle(stage.model.face)
    jiggle(stage.model.eyes)
    parameters = gazes(batch(1).parameters, (0.0, 0.0), (0.2, 0.4))
    with torch.no_grad():
        face = stage.model.face(parameters).gaussians
        eyes = stage.model.eyes(parameters).gaussians
    for name in ("means", "quats", "scales", "opacities", "features"):
        rows = getattr(face, name)
        torch.testing.assert_close(rows[0], rows[1], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(eyes.means[0], eyes.means[1], atol=1e-4)
    assert not torch.allclose(eyes.features[0], eyes.features[1], atol=1e-4)


# Batches and gradients.


@pytest.mark.parametrize("renderer", ["dit", "conv"])
def test_a_batch_of_two_equals_two_batches_of_one(renderer):
    network = gaze_stage(gaze_run(renderer=renderer)).model
    jiggle(network, 0.03)
    pair = batch(2)
    parameters = replace(pair.parameters, gaze=torch.tensor([[0.1, 0.3], [-0.2, -0.3]]))
    with torch.no_grad():
        both = network(parameters, pair.cameras)
        for i in range(2):
            one = network(parameters.rows([i]), pair.cameras.rows([i]))
            for name, image in {**both.layer_images(), **both.layer_features()}.items():
                alone = {**one.layer_images(), **one.layer_features()}[name]
                torch.testing.assert_close(alone[0], image[i], atol=2e-5, rtol=1e-4)
            whole = network(parameters.rows([i]), pair.cameras.rows([i]), layers=False)
            torch.testing.assert_close(whole.image[0], both.image[i], atol=2e-5, rtol=1e-4)
    assert not torch.allclose(both.image[0], both.image[1], atol=1e-2)


@pytest.mark.parametrize("renderer", ["dit", "conv"])
def test_every_trainable_parameter_gets_a_gradient_within_three_steps(renderer):
    assert without_gradient(gaze_stage(gaze_run(renderer=renderer)), steps=3) == set()


def test_camera_offsets_move_the_image_as_the_camera_would():
    stage = gaze_stage()
    pair = batch(2)
    with torch.no_grad():  # large opaque splats lose less at the cut-off of 1/255, a jump that no gradient sees
        for stream in (stage.model.face, stage.model.eyes):
            stream.opacity_logits.fill_(4.0)
            stream.log_scales += 0.7
    ramp = torch.linspace(-1, 1, 16)

    def value():
        parameters, cameras = stage.offsets.of(pair.index).apply_to(pair.parameters, pair.cameras)
        return ((stage.model(parameters, cameras).features[0, :3]) * (ramp + 0.5 * ramp[:, None])).sum()

    value().backward()
    step = 1e-3
    for parameter in (stage.offsets.rotation, stage.offsets.translation):
        column = parameter.grad[0].abs().argmax()
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter[0, column] = sign * step
                values.append(value())
            parameter.zero_()
        expected = (values[0] - values[1]) / (2 * step)
        assert parameter.grad[0, column].item() == pytest.approx(expected.item(), rel=0.15)


def test_learned_cameras_render_what_fixed_cameras_render():
    stage = gaze_stage()
    pair = batch(2)
    with torch.no_grad():
        stage.offsets.rotation[pair.index] = torch.tensor([0.02, -0.03, 0.05])
        stage.offsets.translation[pair.index] = torch.tensor([0.01, 0.02, -0.03])
    parameters, cameras = stage.offsets.of(pair.index).apply_to(pair.parameters, pair.cameras)
    learned = stage.model(parameters, cameras, layers=False).features
    fixed = replace(cameras, rotation=cameras.rotation.detach(), translation=cameras.translation.detach())
    torch.testing.assert_close(learned, stage.model(parameters, fixed, layers=False).features, atol=2e-3, rtol=0)


def test_half_precision_keeps_positions_and_terms():
    stage = gaze_stage()
    rows = batch(2)
    jiggle(stage.model, 0.03)
    with torch.no_grad():
        exact = stage.model(rows.parameters, rows.cameras)
        terms = stage.losses(rows, 0)
        measured = stage.validate()
        with torch.autocast("cpu", torch.bfloat16):
            half = stage.model(rows.parameters, rows.cameras)
            half_terms = stage.losses(rows, 0)
            half_measured = stage.validate()
    for a, b in zip(exact.streams(), half.streams(), strict=True):
        torch.testing.assert_close(a.gaussians.means, b.gaussians.means, atol=1e-3, rtol=0)
        assert b.gaussians.means.dtype == torch.float32
    for name, value in terms.items():
        torch.testing.assert_close(half_terms[name].float(), value, atol=1e-4, rtol=0.02)
    for name in ("l1", "ssim", "perceptual"):
        assert half_measured[name] == pytest.approx(measured[name], rel=0.02), name


# The optimiser's groups and what is searched.


def test_groups_hold_every_parameter_once():
    stage = gaze_stage()
    held = [id(p) for group in stage.parameter_groups(OptimConfig()) for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in stage.module.parameters()}


def test_learning_rates_of_the_eyes_follow_their_factor():
    network = model()
    optim = OptimConfig(lr=1e-3, eye_lr_mult=1.7, features_lr_mult=0.6, dit_lr_mult=0.5)
    rate = {id(p): group["lr"] for group in network.parameter_groups(optim) for p in group["params"]}
    mults = {
        "means": optim.means_lr_mult,
        "features": optim.features_lr_mult,
        "log_scales": optim.scales_lr_mult,
        "quats": optim.quats_lr_mult,
    }
    for stream, factor in ((network.face, 1.0), (network.eyes, 1.7)):
        for name, parameter in stream.named_parameters():
            assert rate[id(parameter)] == pytest.approx(1e-3 * factor * mults.get(name, 1.0)), name
    assert {rate[id(p)] for p in network.renderer.refiner.parameters()} == {5e-4}
    assert {rate[id(p)] for p in network.renderer.path.parameters()} == {1e-3}


def test_first_step_with_another_eye_rate_changes_the_eyes_alone():
    def after_one_step(eye_lr_mult):
        stage = gaze_stage(gaze_run(eye_lr_mult=eye_lr_mult))
        optimizer = torch.optim.Adam(stage.parameter_groups(stage.config.optim))
        torch.stack(list(stage.losses(batch(2), 0).values())).sum().backward()
        optimizer.step()
        return {name: p.detach() for name, p in stage.module.named_parameters()}

    one = after_one_step(1.0)
    two = after_one_step(2.0)
    changed = {name for name in one if not torch.equal(one[name], two[name])}
    assert changed
    assert all(name.startswith("model.eyes.") for name in changed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of both streams after one epoch with some parameters."""

    def after_one_epoch(**parameters):
        run = gaze_run(**parameters)
        stage = gaze_stage(run)
        train(stage, run, tmp_path_factory.mktemp("run"))
        return stream_weights(stage)

    return after_one_epoch


@pytest.fixture(scope="module")
def usual(trained):
    return trained()


def test_training_is_reproducible(trained, usual):
    assert torch.equal(trained(), usual)


@pytest.mark.parametrize("name", SEARCHED)
def test_every_searched_parameter_changes_the_weights(trained, usual, name):
    assert not torch.equal(trained(**{name: SEARCHED[name]}), usual)


# Checkpoints.


def test_mesh_head_of_other_widths_starts_stage_two_and_its_checkpoint_renders_the_same(tmp_path):
    run = mesh_run(**OTHER_WIDTHS)
    stage_one = mesh_stage(run)
    mesh_head = load_mesh_head(train(stage_one, run, tmp_path / "one").best_checkpoint)
    for name, value in stage_one.module.state_dict().items():
        assert torch.equal(mesh_head.state_dict()[name], value), name

    stage_two = gaze_stage(gaze_run(), mesh_head)
    for stream in (stage_two.model.face, stage_two.model.eyes):
        for name in ("shape_color", "shape_deform"):
            inherited = getattr(stream, name).state_dict()
            source = getattr(mesh_head.branches, name).state_dict()
            assert all(torch.equal(inherited[key], source[key]) for key in source)

    result = train(stage_two, gaze_run(), tmp_path / "two")
    loaded = load_gaze_gaussian(result.best_checkpoint)
    pair = heads()[1].batch([0, 1])
    stage_two.module.eval()
    with torch.no_grad():
        expected = stage_two.model(pair.parameters, pair.cameras, layers=False)
        rendered = loaded(pair.parameters, pair.cameras, layers=False)
    assert torch.equal(rendered.image, expected.image)
    assert torch.equal(rendered.features, expected.features)

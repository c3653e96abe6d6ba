"""The variant released trains, its checkpoints are rebuilt, and trainings begin with imported ones."""

import logging

import pytest
import torch
from published_support import PUBLISHED, STREAMS, gaze_file, mesh_file
from synthetic_support import batch, gaze_run, gaze_stage, heads, mesh_run, mesh_stage, train, without_gradient

from gazegaussian.config import with_parameters
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.geometry.published import published_landmarks
from gazegaussian.published.import_checkpoint import import_published
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage, load_gaze_gaussian
from gazegaussian.training.initial_weights import adopt_sizes
from gazegaussian.training.mesh_head_stage import load_mesh_head

# Trainings of the variant.


def test_both_stages_reach_every_parameter(published_mesh_head):
    stage = mesh_stage(mesh_run(**PUBLISHED))
    stage.prepare()
    assert without_gradient(stage, steps=3) == set()
    for renderer in ("conv", "dit"):
        stage = gaze_stage(gaze_run(**{**STREAMS, "renderer": renderer}), published_mesh_head)
        assert without_gradient(stage, steps=3) == set()


def test_checkpoints_of_the_variant_are_rebuilt(published_mesh_head, tmp_path):
    run = mesh_run(**PUBLISHED)
    stage = mesh_stage(run)
    loaded = load_mesh_head(train(stage, run, tmp_path / "one").best_checkpoint)
    assert loaded.variant == "released"
    assert torch.equal(loaded.neutral_mesh().vertices, stage.module.neutral_mesh().vertices)
    run = gaze_run(**STREAMS)
    stage = gaze_stage(run, published_mesh_head)
    loaded = load_gaze_gaussian(train(stage, run, tmp_path / "two").best_checkpoint)
    rows = batch(1)
    with torch.no_grad():
        expected = stage.model.eval()(rows.parameters, rows.cameras, layers=False).image
        assert torch.equal(loaded(rows.parameters, rows.cameras, layers=False).image, expected)


def test_landmarks_of_the_variant_guide_its_training_alone(published_mesh_head):
    rows = batch(2)
    assert (published_landmarks(rows.landmarks_3d, rows.cameras) - rows.landmarks_3d).abs().max() > 1e-2
    terms = {}
    for variant in ("default", "released"):
        stage = mesh_stage(mesh_run())
        stage.module = published_mesh_head
        stage.variant = variant
        with torch.no_grad():
            terms[variant] = {**stage.losses(rows, 0), **stage.validate()}
    for name, value in terms["default"].items():
        differs = abs(float(value) - float(terms["released"][name])) > 1e-6
        assert differs == (name == "landmark_deform"), name


def test_a_mesh_head_of_either_variant_starts_stage_two_of_the_other(published_mesh_head, caplog):
    caplog.set_level(logging.INFO)
    ours = mesh_stage()
    ours.prepare()
    for source, variant in ((published_mesh_head, "default"), (ours.module, "released")):
        caplog.clear()
        stage = gaze_stage(gaze_run(**{**STREAMS, "variant": variant}), source)
        # In the default variant it always does; in the other one it is inherited from a MeshHead of the same.
        assert ("the rotation of the eyes starts anew" in caplog.text) == (variant == "released")
        inherited = source.branches.shape_color.state_dict()
        assert all(
            torch.equal(value, inherited[name]) for name, value in stage.model.eyes.shape_color.state_dict().items()
        )
        with torch.no_grad():
            assert torch.isfinite(stage.model(batch(1).parameters, batch(1).cameras, layers=False).image).all()


def test_published_streams_share_one_mesh(published_mesh_head):
    with pytest.raises(ConfigError, match="face_subdivisions is 0, eye_subdivisions 1"):
        gaze_stage(gaze_run(**{**STREAMS, "eye_subdivisions": 1}), published_mesh_head)


# --init-from.


@pytest.fixture
def mesh_import(published_mesh_head, tmp_path):
    return import_published(mesh_file(published_mesh_head, tmp_path / "mesh.pt"), tmp_path / "mesh_import")[0]


@pytest.fixture
def gaze_import(published_gaze_gaussian, tmp_path):
    return import_published(gaze_file(published_gaze_gaussian, tmp_path / "gaze.pt"), tmp_path / "gaze_import")[0]


def test_mesh_head_training_begins_with_the_import(published_mesh_head, mesh_import):
    run = adopt_sizes(mesh_run(shape_mlp_width=48), mesh_import)
    stage = mesh_stage(run)
    stage.prepare()  # would fit the geometry to an ellipsoid
    assert run.model.variant == "released"
    for name, value in published_mesh_head.state_dict().items():
        assert torch.equal(stage.module.state_dict()[name], value), name
    assert without_gradient(stage, steps=2) == set()


def test_a_network_of_another_shape_starts_anew_and_is_listed(published_mesh_head, mesh_import, caplog):
    run = with_parameters(adopt_sizes(mesh_run(), mesh_import), {"shape_mlp_width": 24})
    stage = mesh_stage(run)
    assert "start anew: branches.shape_color, branches.shape_deform" in caplog.text
    own = stage.module.state_dict()
    kept = {
        name
        for name, value in published_mesh_head.state_dict().items()
        if torch.equal(own.get(name, torch.zeros(0)), value)
    }
    fresh = {name for name in own if name not in kept}
    assert fresh
    assert all(name.startswith(("branches.shape_color", "branches.shape_deform")) for name in fresh)


def test_gaze_gaussian_training_begins_with_the_import(published_gaze_gaussian, gaze_import):
    run = adopt_sizes(gaze_run(renderer="conv"), gaze_import)
    stage = GazeGaussianStage(run, None, *heads())
    for name, value in published_gaze_gaussian.state_dict().items():
        assert torch.equal(stage.model.state_dict()[name], value), name


def test_no_part_of_the_convolutional_renderer_gets_into_the_dit_one(published_gaze_gaussian, gaze_import, caplog):
    run = adopt_sizes(gaze_run(renderer="dit"), gaze_import)
    assert "renderer conv, this training the renderer dit" in caplog.text
    torch.manual_seed(5)
    stage = GazeGaussianStage(run, None, *heads())
    assert "start anew: renderer" in caplog.text
    torch.manual_seed(5)
    state = stage.model.state_dict()
    for name, value in published_gaze_gaussian.state_dict().items():
        if not name.startswith("renderer."):
            assert torch.equal(state[name], value), name
    theirs = [v for k, v in published_gaze_gaussian.state_dict().items() if k.startswith("renderer.")]
    mine = [v for k, v in state.items() if k.startswith("renderer.")]
    assert not any(a.shape == b.shape and torch.equal(a, b) for a in theirs for b in mine)


def test_weights_of_another_variant_are_refused(mesh_import):
    run = mesh_run().model_copy(update={"init_from": mesh_import})
    with pytest.raises(CheckpointError, match=r"Set model\.variant: released"):
        mesh_stage(run)

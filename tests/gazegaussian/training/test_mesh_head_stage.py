"""Stage one on synthetic heads: gradients, what is searched, groups, validation metric, checkpoints."""

from dataclasses import replace

import pytest
import torch
from mesh_head_support import give_codes_influence
from synthetic_support import batch, heads, mesh_run, mesh_stage, train, without_gradient

from gazegaussian.config import OptimConfig
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.training.mesh_head_stage import load_mesh_head
from gazegaussian.training.trainer import Trainer

SEARCHED = {"lr": 2e-3, "batch_size": 1, "shape_mlp_width": 24, "pose_mlp_width": 24, "eye_mlp_width": 24}


@pytest.fixture(scope="module")
def loss_after_one_epoch(tmp_path_factory):
    def measured(**parameters):
        run = mesh_run(**parameters)
        return train(mesh_stage(run), run, tmp_path_factory.mktemp("run")).best_metric

    return measured


@pytest.fixture(scope="module")
def usual(loss_after_one_epoch):
    return loss_after_one_epoch()


def test_training_is_reproducible(loss_after_one_epoch, usual):
    assert loss_after_one_epoch() == usual


@pytest.mark.parametrize("name", SEARCHED)
def test_every_searched_parameter_changes_the_loss(loss_after_one_epoch, usual, name):
    assert loss_after_one_epoch(**{name: SEARCHED[name]}) != usual


def test_every_parameter_gets_a_gradient_from_the_first_step():
    stage = mesh_stage()
    stage.prepare()
    assert without_gradient(stage, steps=1) == set()


def test_groups_hold_every_parameter_once_and_landmarks_learn_slower():
    stage = mesh_stage()
    groups = stage.parameter_groups(OptimConfig(lr=1e-3, landmark_lr_mult=0.2))
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in stage.module.parameters()}
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    landmarks = id(stage.module.landmarks_3d_neutral)
    assert rates.pop(landmarks) == pytest.approx(2e-4)
    assert set(rates.values()) == {1e-3}


def test_two_people_in_one_batch_are_posed_as_if_alone():
    stage = mesh_stage()
    stage.prepare()
    give_codes_influence(stage.module.branches)
    pair = batch(2)
    other = heads()[1].batch([0])
    codes = torch.cat([pair.parameters.shape_code[:1], other.parameters.shape_code])
    parameters = replace(pair.parameters, shape_code=codes)
    with torch.no_grad():
        together = stage.module(parameters)
        for i in range(2):
            alone = stage.module(parameters.rows([i]))
            torch.testing.assert_close(alone.vertices[0], together.vertices[i], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone.colors[0], together.colors[i], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together.vertices[0], together.vertices[1])


def test_searched_loss_weights_do_not_bend_the_ruler():
    measured = []
    for weights in ({}, {"color_importance": 7.0, "laplacian_importance": 0.0, "landmark_sdf_importance": 3.0}):
        stage = mesh_stage(mesh_run(**weights))
        stage.prepare()
        with torch.no_grad():
            measured.append((stage.validate(), sum(stage.losses(batch(2), 0).values()).item()))
    (usual, usual_loss), (bent, bent_loss) = measured
    assert bent == usual
    assert bent_loss != usual_loss
    parts = [value for name, value in usual.items() if name.startswith("val_") and name != "val_loss"]
    assert usual["val_loss"] == pytest.approx(sum(parts))


def test_warm_start_brings_the_distance_field_to_the_ellipsoid():
    stage = mesh_stage()
    first = stage.module.warm_start(1)
    assert stage.module.warm_start(60) < 0.5 * first


def test_checkpoint_rebuilds_the_widths_that_a_study_found(tmp_path):
    run = mesh_run(shape_mlp_width=24, pose_mlp_width=12, eye_mlp_width=20)
    stage = mesh_stage(run)
    loaded = load_mesh_head(train(stage, run, tmp_path).best_checkpoint)
    assert isinstance(loaded, MeshHead)
    assert loaded.config == stage.module.config
    parameters = heads()[1].batch([0]).parameters
    with torch.no_grad():
        assert torch.equal(loaded(parameters).vertices, stage.module(parameters).vertices)


def test_a_checkpoint_of_the_time_when_variants_had_other_names_resumes(tmp_path):
    run = mesh_run(epochs=2)
    whole = train(mesh_stage(run), run, tmp_path)
    path = tmp_path / "last.pt"
    content = torch.load(path, weights_only=True)
    for part in (content, content["config"]["model"], content["architecture"]["mesh_model"]):
        assert part["variant"] == "default"
        part["variant"] = "ours"
    torch.save(content, path)
    more = mesh_run(epochs=3)
    trainer = Trainer(mesh_stage(more), more.training, more.optim, tmp_path, (), more.model_dump(mode="json"))
    resumed = trainer.fit(resume=path)
    assert [row["val_loss"] for row in resumed.history[:2]] == [row["val_loss"] for row in whole.history]
    assert len(resumed.history) == 3

"""Checkpoints are measured on people that chose nothing, by what validation measures; stage one's seed varies on request."""

import json

import pytest
import torch
from study_support import fake_train, run_study
from synthetic_support import SIZE, gaze_run, mesh_run

from gazegaussian.build import train_run
from gazegaussian.config import with_parameters
from gazegaussian.data import SyntheticSettings, people_of, synthesize
from gazegaussian.errors import ConfigError
from gazegaussian.measurement import find_test_people, measure_checkpoint
from helpers import StudySpec
from helpers.analysis.confirm import confirm_study
from helpers.analysis.mesh_head_seeds import stage_one
from helpers.search.space import StudyFile

LR = {"a": {"lr": {"type": "float", "min": 1e-4, "max": 1e-2, "log": True}}}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Two people of one frame and three test people."""
    folder = tmp_path_factory.mktemp("heads")
    synthesize(folder, SyntheticSettings(people=2, size=SIZE, frames=1, cameras=4, test_people=3), progress=False)
    return folder


@pytest.fixture(scope="module")
def mesh_head(heads, tmp_path_factory):
    """A MeshHead, trained for an epoch, with its configuration and result."""
    config = with_parameters(mesh_run(), {"root": heads})
    return config, train_run(config, tmp_path_factory.mktemp("mesh_head"))


def test_the_people_are_the_test_people(heads):
    people, reason = find_test_people(with_parameters(mesh_run(), {"root": heads}))
    groups = people_of(heads)
    assert people == list(groups.test)
    assert len(people) == 3
    assert not reason
    assert not set(people) & {*groups.train, *groups.val}


def test_nobody_is_measured_where_there_is_nobody(tmp_path):
    synthesize(tmp_path, SyntheticSettings(people=2, size=SIZE, frames=1, cameras=2, test_people=0), progress=False)
    people, reason = find_test_people(with_parameters(mesh_run(), {"root": tmp_path}))
    assert people == []
    assert "no people beside those that train and validate" in reason


def test_measuring_the_validation_people_gives_what_validation_gave(heads, mesh_head):
    config, result = mesh_head
    everyone = with_parameters(config, {"max_val_images": None})
    person = people_of(heads).val[0]
    measured = measure_checkpoint(everyone, result.best_checkpoint, [person])
    trained = train_run(everyone, result.best_checkpoint.parent / "again")
    assert measured[person]["val_loss"] == pytest.approx(trained.best_metric, rel=1e-5)
    others = measure_checkpoint(config, result.best_checkpoint, find_test_people(config)[0])
    assert len({row["val_loss"] for row in others.values()}) == 3, "three people had the same images"
    assert measured[person]["val_loss"] not in {row["val_loss"] for row in others.values()}


def test_stage_two_is_measured_too(heads, mesh_head, tmp_path):
    config = with_parameters(gaze_run(), {"root": heads})
    config = config.model_copy(update={"meshhead_checkpoint": mesh_head[1].best_checkpoint})
    result = train_run(config, tmp_path)
    before = torch.load(result.best_checkpoint, weights_only=True)["model"]
    people, _ = find_test_people(config)
    measured = measure_checkpoint(config, result.best_checkpoint, people)
    assert set(measured) == set(people)
    assert all(0 < row["gaze_error_deg"] < 180 for row in measured.values())
    assert torch.equal(
        before[next(iter(before))], torch.load(result.best_checkpoint, weights_only=True)["model"][next(iter(before))]
    )


def test_a_real_study_is_confirmed_on_test_people(heads, tmp_path):
    file = StudyFile.model_validate(
        {"study_name": "real", "trials": 2, "epochs": 1, "pruner": {"name": "none"}, "search_space": LR}
    )
    asked = StudySpec(with_parameters(mesh_run(), {"root": heads}), file, tmp_path)
    run_study(asked)
    report = confirm_study(asked, top=1, seeds=2)
    assert report.people == people_of(heads).test
    assert all(len(row) == 3 for one in report.configurations for row in one.people)
    assert "and 3 test people" in report.sentences[0]
    assert "On the validation people, which chose epoch and trial" in report.statement
    stored = json.loads((asked.folder / "confirm" / "baseline_seed1" / "test_people.json").read_text())
    values = [row["val_loss"] for row in stored["people"].values()]
    assert report.baseline.values[0] == pytest.approx(sum(values) / 3)
    assert report.baseline.seen[0] != report.baseline.values[0]


def test_the_seed_of_stage_one_varies_on_request(mesh_head, tmp_path):
    trained = []

    def train(config, run_dir, hooks, resume):
        trained.append(config)
        return fake_train(config, run_dir, hooks, resume)

    start = gaze_run().model_copy(update={"meshhead_checkpoint": mesh_head[1].best_checkpoint})
    file = StudyFile.model_validate(
        {"study_name": "two", "trials": 2, "epochs": 1, "pruner": {"name": "none"}, "search_space": LR}
    )
    asked = StudySpec(start, file, tmp_path, train=train, check=lambda config: None)
    run_study(asked)
    trained.clear()
    report = confirm_study(asked, top=1, seeds=2, vary_meshhead=True)
    assert report.mesh_heads
    first = [config for config in trained if config.stage == "meshhead"]
    assert [config.training.seed for config in first] == [1, 2]
    assert first[0].model.shape_mlp_width == 16, "it was not trained as the study's MeshHead was"
    starts = {
        (config.training.seed, config.meshhead_checkpoint.parent.name)
        for config in trained
        if config.stage == "gazegaussian"
    }
    assert starts == {(1, "meshhead_seed1"), (2, "meshhead_seed2")}
    assert "seeds of both stages" in report.statement
    confirm_study(asked, top=1, seeds=2)
    assert len(trained) == 2 + 2 * 2 + 2 * 2, "both ways must keep their trainings"
    with pytest.raises(ConfigError, match="Only a study of stage two"):
        stage_one(mesh_run())

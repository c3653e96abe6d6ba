"""Recorded curves are those of a study, and nothing recorded is lost or done twice."""

import dataclasses
import json

import pytest
from synthetic_support import _folder, mesh_run

from benchmarks.search_efficiency.curves import Curve, append, read
from benchmarks.search_efficiency.record import draw, record
from gazegaussian.build import train_run
from gazegaussian.config import with_parameters
from gazegaussian.errors import ConfigError, DataError, NonFiniteError
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from helpers.search_space import Component, StudyFile

STUDY = StudyFile.model_validate(
    {
        "study_name": "tiny",
        "trials": 3,
        "epochs": 2,
        "search_space": {
            "optimisation": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}},
            "widths": {"eye_mlp_width": {"type": "categorical", "choices": [8, 16]}},
        },
    }
)


@pytest.fixture
def run():
    small = mesh_run(max_train_images=2, warm_start_steps=5)
    return small.model_copy(update={"data": small.data.model_copy(update={"root": _folder().name})})


def curve(index, **changes):
    values = Curve(index, {"lr": 1e-3}, "complete", (0.5, 0.4), (1.0, 1.0), (0.9, 0.9), 0.1, 0)
    return dataclasses.replace(values, **changes)


def test_a_recorded_curve_is_that_of_a_training(run, tmp_path):
    kept = list(record(tmp_path / "c.jsonl", run, STUDY, 0, range(2)))
    for one in kept:
        trained = train_run(with_parameters(run, {**one.params, "epochs": 2}), tmp_path / str(one.index)).history
        assert list(one.values) == [row["val_loss"] for row in trained]
        assert one.status == "complete"
        assert all(second > 0 for second in one.seconds)
    assert kept[0].params == {"lr": run.optim.lr, "eye_mlp_width": 16}  # the baseline comes first


def test_drawn_configurations_repeat_and_differ(run):
    drawn = [draw(STUDY, run, 0, index) for index in range(1, 40)]
    assert drawn == [draw(STUDY, run, 0, index) for index in range(1, 40)]
    assert len({tuple(params.values()) for params in drawn}) == 39
    assert drawn != [draw(STUDY, run, 1, index) for index in range(1, 40)]
    assert {params["eye_mlp_width"] for params in drawn} == {8, 16}
    assert sum(params["lr"] < 10**-3.5 for params in drawn) in range(10, 30)  # log-uniform
    assert all(space.contains(params[name]) for params in drawn for name, space in STUDY.parameters.items())


def test_recording_continues_and_shares(run, tmp_path, monkeypatch):
    trained = []

    def train(config, index, params):
        trained.append(index)
        return curve(index, params=params)

    monkeypatch.setattr("benchmarks.search_efficiency.record.train", train)
    path = tmp_path / "c.jsonl"
    list(record(path, run, STUDY, 0, range(0, 6, 2)))
    text = path.read_text()
    path.write_text(text[:-30])  # killed while the last line was written
    list(record(path, run, STUDY, 0, range(1, 6, 2)))
    list(record(path, run, STUDY, 0, range(0, 6, 2)))
    assert trained == [0, 2, 4, 1, 3, 5, 4]
    assert [one.index for one in read(path)[1]] == list(range(6))
    begun = json.loads(path.read_text().splitlines()[0])
    del begun["config"]["init_from"]  # begun before the field was there
    path.write_text(path.read_text().replace(path.read_text().splitlines()[0], json.dumps(begun)))
    list(record(path, run, STUDY, 0, range(6)))
    list(record(path, run, STUDY.model_copy(update={"trials": 99, "pruner": Component(name="none")}), 0, range(6)))
    assert len(trained) == 7, "neither newer fields nor how a study would search make other curves"
    with pytest.raises(ConfigError, match="another configuration"):
        list(record(path, with_parameters(run, {"geometry_width": 24}), STUDY, 0, range(1)))
    with pytest.raises(ConfigError, match="another configuration"):
        list(record(path, run, STUDY, 1, range(1)))
    longer = STUDY.parameters["lr"].model_copy(update={"max": 2e-2})
    wider = STUDY.model_copy(update={"search_space": {"optimisation": {"lr": longer}}})
    with pytest.raises(ConfigError, match="another configuration"):
        list(record(path, run, wider, 0, range(1)))


def test_a_configuration_that_diverges_is_kept_with_its_epochs(run, tmp_path, monkeypatch):
    losses = MeshHeadStage.losses

    def breaks(self, batch, epoch):
        if epoch == 1:
            raise NonFiniteError("planted")
        return losses(self, batch, epoch)

    monkeypatch.setattr(MeshHeadStage, "losses", breaks)
    (one,) = record(tmp_path / "c.jsonl", run, STUDY, 0, range(1))
    assert (one.status, one.reason, len(one.values)) == ("diverged", "planted", 1)
    assert read(tmp_path / "c.jsonl")[1][0].status == "diverged"


def test_missing_data_ends_the_recording_instead_of_failing_every_configuration(run, tmp_path):
    lost = run.model_copy(update={"data": run.data.model_copy(update={"root": tmp_path / "nowhere"})})
    with pytest.raises(DataError):
        list(record(tmp_path / "c.jsonl", lost, STUDY, 0, range(3)))


def test_lines_keep_six_digits_and_no_nan(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"stage":"meshhead","epochs":2,"seed":0,"config":{},"study":{},"start":"","machine":""}\n')
    append(path, curve(0, values=(0.123456789, float("nan"))))
    assert read(path)[1][0].values == (0.123457, None)
    path.write_text("no header\n")
    with pytest.raises(DataError, match="header"):
        read(path)

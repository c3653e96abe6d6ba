"""Recorded curves are those of a study, and nothing recorded is lost or done twice."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from repository import ROOT
from synthetic_support import _folder, gaze_run, mesh_run, mesh_stage, train

from benchmarks.search_efficiency import record as recording_module
from benchmarks.search_efficiency import whole_training
from benchmarks.search_efficiency.curves import HALF_DECADES, SEEDS, Curve, append, create, read
from benchmarks.search_efficiency.drawing import FIRST, draw, good_half_decades, half_decades, way
from benchmarks.search_efficiency.identity import as_trained, make_header, require_quick_sizes, require_sizes
from benchmarks.search_efficiency.record import Recorder, Stop, progress_line
from benchmarks.search_efficiency.schedule import Plan, outstanding
from benchmarks.search_efficiency.whole_training import Training
from gazegaussian.build import train_run
from gazegaussian.config import with_parameters
from gazegaussian.errors import ConfigError, DataError, NonFiniteError
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from helpers.search.space import Component, StudyFile

LR = {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}
STUDY = StudyFile.model_validate(
    {
        "study_name": "tiny",
        "trials": 3,
        "epochs": 2,
        "search_space": {
            "optimisation": {"lr": LR},
            "widths": {"eye_mlp_width": {"type": "categorical", "choices": [8, 16]}},
        },
    }
)
GOOD = ((1e-4, 10**-3.5), (10**-3.5, 1e-3))


@pytest.fixture
def run():
    small = mesh_run(max_train_images=2, warm_start_steps=5)
    return small.model_copy(update={"data": small.data.model_copy(update={"root": Path(_folder().name)})})


def recorder(path, run, plan=None, part=(0, 1), study=STUDY, purpose="choose", stop=None):
    return Recorder(path, run, study, purpose, plan or Plan(3, 0, 0, run.training.seed), part, stop)


def curve(index, seed=0, drawn="whole", **changes):
    metrics = {"val_loss": [0.5, 0.4], "seconds": [1.0, 1.0]}
    return dataclasses.replace(Curve(index, seed, drawn, {"lr": 1e-3}, "complete", metrics, 0.1, 0.1), **changes)


@pytest.fixture
def pretend(monkeypatch):
    """Trainings take no time; their loss is the distance of lr from 3e-4, in decades. Returns what was trained."""
    trained = []

    def train(config, stop):
        trained.append((config.optim.lr, config.training.seed))
        loss = abs(np.log10(config.optim.lr / 3e-4))
        values = [loss + 1 - epoch for epoch in range(2)]
        rows = [{"epoch": float(i), "val_loss": v, "l1": v, "seconds": 1.0} for i, v in enumerate(values)]
        return Training("complete", "", rows, 0.1, 0.1)

    monkeypatch.setattr(recording_module, "train", train)
    return trained


def test_a_recorded_curve_is_that_of_a_training_with_every_metric(run, tmp_path):
    kept = list(recorder(tmp_path / "c.jsonl", run, Plan(2, 0, 1, 0)))
    assert [one.key for one in kept] == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (1, 2)]
    for one in (kept[1], kept[5]):
        own = with_parameters(run, {**one.params, "epochs": 2, "seed": one.seed})
        trained = train_run(own, tmp_path / f"{one.seed}").history
        assert one.metrics.keys() == (trained[0].keys() - {"epoch"}) | {"cpu_seconds"}
        assert {"train_loss", "val_loss", "silhouette_iou", "train_seconds"} < one.metrics.keys()
        for name in one.metrics.keys() - {"seconds", "train_seconds", "cpu_seconds"}:
            assert one.metrics[name] == [row[name] for row in trained]
        assert one.status == "complete"
        assert one.warm_up_seconds > 0
        assert one.warm_up_cpu_seconds > 0
        assert all(second > 0 for name in ("seconds", "cpu_seconds") for second in one.metrics[name])
    assert kept[0].params == {"lr": run.optim.lr, "eye_mlp_width": 16}  # the baseline comes first
    assert kept[1].metrics["val_loss"] != kept[5].metrics["val_loss"]


def test_drawn_configurations_repeat_differ_and_half_of_them_lie_where_learning_is_good(run):
    indices = range(1, 151)
    drawn = {index: draw(STUDY, run, 1, index, GOOD) for index in indices}
    assert drawn == {index: draw(STUDY, run, 1, index, GOOD) for index in indices}
    other = [draw(STUDY, run, 2, index, GOOD) for index in indices]
    assert len({params["lr"] for params in [*drawn.values(), *other]}) == 300, "the two files share no configuration"
    good = [index for index in indices if way(index, STUDY) == "good"]
    assert len(good) == 150 - 77  # as `way` says
    assert min(good) > FIRST
    assert all(1e-4 <= drawn[index]["lr"] <= 1e-3 for index in good)
    assert sum(drawn[index]["lr"] < 10**-3.5 for index in good) in range(25, 50)  # log-uniform
    rest = [drawn[index]["lr"] for index in indices if index not in good]
    assert sum(lr < 10**-3.5 for lr in rest) in range(25, 50)
    assert {params["eye_mlp_width"] for params in drawn.values()} == {8, 16}
    assert all(space.contains(params[name]) for params in drawn.values() for name, space in STUDY.parameters.items())


def test_good_half_decades_are_those_with_the_best_median():
    pieces = half_decades(STUDY)
    assert len(pieces) == 6
    assert np.allclose(np.log10(pieces), [[-5 + i / 2, -4.5 + i / 2] for i in range(6)])
    lrs = 10 ** np.random.default_rng(0).uniform(-5, -2, size=60)
    curves = [curve(i, params={"lr": lr}, metrics={"val_loss": [abs(np.log10(lr) + 3.5)]}) for i, lr in enumerate(lrs)]
    assert good_half_decades(STUDY, curves) == pieces[2:4]
    upwards = STUDY.model_copy(update={"direction": "maximize"})
    assert good_half_decades(upwards, curves) == [pieces[0], pieces[5]]
    broken = [dataclasses.replace(one, status="diverged") if one.params["lr"] > 10**-3.5 else one for one in curves]
    assert good_half_decades(STUDY, broken) == pieces[1:3], "what diverges is not good"
    linear = {"x": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2}}}
    assert half_decades(StudyFile.model_validate({"study_name": "s", "trials": 1, "search_space": linear})) == []


def test_the_good_range_is_chosen_once_by_the_first_configurations(run, tmp_path, pretend):
    path = tmp_path / "c.jsonl"
    list(recorder(path, run, Plan(FIRST + 9, 0, 0, 0)))
    recording = read(path)
    assert np.allclose(np.log10(recording.half_decades), [[-4, -3.5], [-3.5, -3]])
    assert sum(HALF_DECADES in line for line in path.read_text().splitlines()) == 1
    late = [one for one in recording.curves if one.index > FIRST]
    assert {one.drawn for one in late} == {"whole", "good"}
    assert all(1e-4 <= one.params["lr"] <= 1e-3 for one in late if one.drawn == "good")
    append(path, {HALF_DECADES: [[1e-5, 2e-5]], "curves": 0})  # another process was later
    list(recorder(path, run, Plan(FIRST + 20, 0, 0, 0)))
    assert read(path).half_decades == recording.half_decades
    assert all(one.params["lr"] >= 1e-4 for one in read(path).curves if one.drawn == "good")


def test_recording_continues_and_shares(run, tmp_path, pretend):
    path = tmp_path / "c.jsonl"
    plan = Plan(6, 0, 0, 0)
    first = iter(recorder(path, run, plan, (0, 2)))
    assert [next(first).index for _ in range(3)] == [0, 2, 4]
    text = path.read_text()
    path.write_text(text[:-30])  # killed while the last line was written
    assert len(read(path).curves) == 2
    second = list(recorder(path, run, plan, (1, 2)))
    assert [one.key for one in second] == [(1, 0), (3, 0), (5, 0), (4, 0), (0, 2), (0, 1)], (
        "it ends what the other left"
    )
    assert read(path).keys == {*((index, 0) for index in range(6)), (0, 1), (0, 2)}
    assert list(recorder(path, run, plan, (0, 2))) == []
    assert [one.index for one in recorder(path, run, Plan(8, 0, 0, 0))] == [6, 7], "the number may grow"


def test_two_processes_meet_in_the_middle_of_the_rest():
    keys = [(index, 0) for index in range(7)]
    assert outstanding(keys, set(), 1, 2) == (1, 0)
    assert outstanding(keys, {(1, 0)}, 1, 2) == (3, 0)
    assert outstanding(keys, {(1, 0), (3, 0), (5, 0), (0, 0)}, 1, 2) == (6, 0)
    assert outstanding(keys, set(keys), 1, 2) is None


def test_the_second_pass_repeats_the_best_and_some_others(run, tmp_path, pretend):
    path = tmp_path / "c.jsonl"
    list(recorder(path, run, Plan(30, 5, 4, 0)))
    recording = read(path)
    final = {one.index: one.metrics["val_loss"][-1] for one in recording.curves if one.seed == 0}
    repeated = {one.index for one in recording.curves if one.seed == 1}
    assert repeated == {one.index for one in recording.curves if one.seed == 2}
    assert len(repeated) == 10
    assert {0, *sorted(range(1, 30), key=final.__getitem__)[:5]} < repeated
    assert len(recording.curves) == Plan(30, 5, 4, 0).trainings == 50
    assert len(set(pretend)) == 50
    list(recorder(path, run, Plan(30, 8, 4, 0)))
    best = set(sorted(range(1, 30), key=final.__getitem__)[:8])
    kept = repeated - best - {0}
    again = {one.index for one in read(path).curves if one.seed == 2}
    assert again > repeated, "others that were repeated before count"
    assert len(again) == 1 + len(best | kept) + max(0, 4 - len(kept))


def test_other_sizes_purposes_and_spaces_are_rejected_and_a_study_s_own_search_is_not(run, tmp_path, pretend):
    path = tmp_path / "c.jsonl"
    list(recorder(path, run))
    searched = STUDY.model_copy(update={"trials": 99, "pruner": Component(name="none")})
    assert list(recorder(path, run, study=searched)) == []
    longer = STUDY.parameters["lr"].model_copy(update={"max": 2e-2})
    wider = STUDY.model_copy(update={"search_space": {"optimisation": {"lr": longer}}})
    other_sizes = with_parameters(run, {"geometry_width": 24})
    for changed, message in (
        ({"run": other_sizes}, "other sizes.*geometry_width"),
        ({"study": wider}, r"other sizes.*study\.space"),
        ({"purpose": "report"}, "purpose: choose -> report; seed: 1 -> 2.*another --out"),
    ):
        with pytest.raises(ConfigError, match=message):
            recorder(path, **{"run": run, **changed})
    text = path.read_text()
    begun = json.loads(text.splitlines()[0])
    del begun["config"]["init_from"]  # started before the field was there
    begun["data"]["generator"] = "1"
    path.write_text(text.replace(text.splitlines()[0], json.dumps(begun)))
    with pytest.raises(ConfigError, match=r"generator: 1 -> \d"):
        recorder(path, run)
    header = read(path).header  # heads of another generator are no other sizes
    require_sizes(header, as_trained(run, searched), searched, path)
    with pytest.raises(ConfigError, match=r"other sizes.*image_size: 64 -> 128"):
        require_quick_sizes(header, path)
    with pytest.raises(ConfigError, match=r"geometry_width: 16 -> 24"):
        require_sizes(header, as_trained(other_sizes, STUDY), STUDY, path)
    with pytest.raises(ConfigError, match=r"study\.space"):
        require_sizes(header, as_trained(run, wider), wider, path)


def test_the_header_names_what_curves_depend_on(run):
    trained = as_trained(run, STUDY)
    header = make_header(trained, STUDY, "report")
    assert (header.purpose, header.seed, header.epochs) == ("report", SEEDS["report"], 2)
    assert header.data.keys() == {"generator", "guide", "judge"}
    assert header.digest == make_header(trained, STUDY, "choose").digest
    assert header.digest == make_header(with_parameters(trained, {"threads": 7, "seed": 5}), STUDY, "choose").digest
    assert header.digest != make_header(with_parameters(trained, {"max_val_images": 1}), STUDY, "choose").digest


def test_stage_two_is_recorded_from_the_mesh_head_that_is_named(tmp_path):
    stage = mesh_stage()
    first = train(stage, mesh_run(), tmp_path / "mesh").best_checkpoint
    root = Path(_folder().name)
    small = gaze_run(max_train_images=2)
    config = small.model_copy(
        update={"meshhead_checkpoint": first, "data": small.data.model_copy(update={"root": root})}
    )
    study = {"study_name": "two", "trials": 3, "epochs": 1, "search_space": {"all": {"lr": LR}}}
    path = tmp_path / "c.jsonl"
    searched = StudyFile.model_validate(study)
    (kept, *_) = recorder(path, config, study=searched, plan=Plan(1, 0, 0, 0))
    assert (kept.status, kept.epochs) == ("complete", 1)
    history = train_run(with_parameters(config, {"epochs": 1}), tmp_path / "own").history
    assert kept.metrics["val_loss"] == [history[0]["val_loss"]]
    header = read(path).header
    assert header.data["meshhead_checkpoint"] == hashlib.sha256(first.read_bytes()).hexdigest()[:12]
    assert header.config["meshhead_checkpoint"] == "best.pt"
    other = train(mesh_stage(seed=1), mesh_run(), tmp_path / "other").best_checkpoint
    with pytest.raises(ConfigError, match=r"meshhead_checkpoint: .* -> "):
        recorder(path, config.model_copy(update={"meshhead_checkpoint": other}), study=searched)


def test_a_configuration_that_diverges_is_kept_with_its_epochs(run, tmp_path, monkeypatch):
    losses = MeshHeadStage.losses

    def breaks(self, batch, epoch):
        if epoch == 1:
            raise NonFiniteError("planted")
        return losses(self, batch, epoch)

    monkeypatch.setattr(MeshHeadStage, "losses", breaks)
    path = tmp_path / "c.jsonl"
    one = next(iter(recorder(path, run)))
    assert (one.status, one.reason, one.epochs) == ("diverged", "planted", 1)
    assert read(path).curves[0].status == "diverged"


def test_a_training_that_fails_is_a_fact_and_the_next_one_follows(run, tmp_path, monkeypatch):
    build = whole_training.build

    def breaks(config):
        if config.optim.lr != run.optim.lr:
            raise RuntimeError("the surface is empty")
        return build(config)

    monkeypatch.setattr(whole_training, "build", breaks)
    kept = list(recorder(tmp_path / "c.jsonl", run))
    assert [(one.status, one.reason) for one in kept[1:3]] == [("failed", "RuntimeError: the surface is empty")] * 2
    assert [one.status for one in kept if one.index == 0] == ["complete"] * 3


def test_missing_data_ends_the_recording_instead_of_failing_every_configuration(run, tmp_path):
    lost = run.model_copy(update={"data": run.data.model_copy(update={"root": tmp_path / "nowhere"})})
    with pytest.raises(DataError):
        recorder(tmp_path / "c.jsonl", lost)


def test_a_stop_drops_the_training_at_work_and_time_is_kept(run, tmp_path):
    stop = Stop()
    path = tmp_path / "c.jsonl"
    going = iter(recorder(path, run, stop=stop))
    next(going)
    stop.signalled = True
    assert list(going) == []
    assert len(read(path).curves) == 1
    assert Stop(minutes=1)(needed=59) is False
    assert Stop(minutes=1)(needed=61) is True

    class AfterOneEpoch(Stop):
        asked = 0

        def __call__(self, needed=0.0):
            self.asked += 1
            return self.asked > 1

    assert list(recorder(path, run, stop=AfterOneEpoch())) == []
    assert len(read(path).curves) == 1, "one epoch of two is no curve"


def test_a_process_that_gets_a_signal_ends_cleanly_and_its_file_continues(run, tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run.model_dump(mode="json")))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY.model_dump(mode="json"), "epochs": 400}))
    out = tmp_path / "c.jsonl"
    args = ["-m", "benchmarks.search_efficiency.record", "meshhead", "choose", "--out", str(out), "--nice", "0"]
    args += ["--config", str(tmp_path / "run.yaml"), "--study", str(tmp_path / "study.yaml")]
    process = subprocess.Popen([sys.executable, *args], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not out.exists() and process.poll() is None:  # a busy machine takes minutes to import torch
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "stopped; the same command continues" in said
    assert read(out).curves == []
    assert list(tmp_path.glob(".c.jsonl*")) == []


@pytest.mark.parametrize("stage", ["meshhead", "gazegaussian"])
def test_the_bare_command_records_what_the_shipped_quick_study_trains(stage, tmp_path, monkeypatch, pretend):
    monkeypatch.setattr(recording_module, "preflight", lambda config: None)  # heads and MeshHead need not be there
    monkeypatch.setattr(recording_module.os, "nice", lambda steps: None)
    monkeypatch.setattr(Stop, "listen", lambda self: None)
    out = tmp_path / "c.jsonl"
    monkeypatch.setattr(
        sys, "argv", ["record", stage, "choose", "--out", str(out), *["--count", "1", "--best", "0", "--random", "0"]]
    )
    recording_module.main()
    recording = read(out)
    assert [one.drawn for one in recording.curves] == 3 * ["baseline"]  # with three training seeds
    require_quick_sizes(recording.header, out)


def test_lines_keep_six_digits_and_no_nan_and_progress_is_told(run, tmp_path, pretend):
    path = tmp_path / "c.jsonl"
    create(path, make_header(as_trained(run, STUDY), STUDY, "choose"))
    append(path, curve(0, metrics={"val_loss": [0.123456789, float("nan")]}))
    append(path, curve(0, metrics={"val_loss": [1.0]}))
    assert [one.metrics["val_loss"] for one in read(path).curves] == [[0.123457, None]], "the first of two holds"
    going = recorder(path, run, Plan(3, 1, 0, 0))
    line = progress_line(going, next(iter(going)))
    assert line.startswith(
        "meshhead choose: 2/3 configurations, 0/4 repeats; configuration 1 seed 0 complete, val_loss "
    )
    assert line.endswith("1 min left")
    path.write_text("no header\n")
    with pytest.raises(DataError, match="header"):
        read(path)
    path.write_text(json.dumps({"stage": "meshhead"}) + "\n")
    with pytest.raises(DataError, match="header"):
        read(path)

"""A study goes on only with what it was created with, and proposes the same after an interruption as without one."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from study_support import fake_train, run_study, spec, study_file

from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.errors import ConfigError, UserError
from helpers import StudySpec, load_study
from helpers.analysis.importance import parameter_importances
from helpers.api import run
from helpers.reporting.report import report_sections
from helpers.results.attributes import RESUME_OF
from helpers.results.lookup import search_of
from helpers.study.factory import default_spec


def test_another_configuration_is_refused_and_another_device_is_not(tmp_path):
    run_study(spec(tmp_path, trials=1))
    run_study(replace(spec(tmp_path, trials=1), config=MeshHeadRun(training={"device": "cpu"})))
    with pytest.raises(ConfigError, match=r"epochs: 8 -> 9.*another --study-name"):
        run_study(spec(tmp_path, trials=2, epochs=9))
    with pytest.raises(ConfigError, match="shape_mlp_width: 256 -> 64"):
        run_study(replace(spec(tmp_path, trials=2), config=MeshHeadRun(model={"shape_mlp_width": 64})))
    assert len(load_study(tmp_path / "toy").trials) == 1


def test_moved_data_are_named_but_not_refused(tmp_path, caplog):
    run_study(spec(tmp_path, trials=1))
    study = run_study(replace(spec(tmp_path, trials=2), config=MeshHeadRun(data={"root": tmp_path})))
    assert f"was created with the data in None; now {tmp_path}" in caplog.text
    assert len(study.trials) == 2


def test_a_refusal_costs_nothing(tmp_path):
    """It comes before the audit, which trains."""
    run_study(spec(tmp_path, trials=1))

    def spend(*_):
        raise AssertionError("something was spent")

    with pytest.raises(ConfigError, match="epochs: 8 -> 9"):
        run(replace(spec(tmp_path, spend, trials=2, epochs=9), check=spend))


def test_a_study_without_trials_may_be_begun_anew(tmp_path):
    def stop(config, run_dir, hooks, resume):
        raise AssertionError

    with pytest.raises(ConfigError, match="not there"):  # the study exists by then
        run_study(replace(spec(tmp_path, stop), check=reject))
    study = run_study(spec(tmp_path, trials=1, epochs=3))
    assert len(study.trials[0].intermediate_values) == 3


def reject(config):
    raise ConfigError("the checkpoint is not there")


@pytest.fixture
def meshes(tmp_path):
    """Two checkpoints with different content and a copy of the first."""
    paths = [tmp_path / f"{name}.pt" for name in ("first", "other", "moved")]
    for path, content in zip(paths, (b"mesh", b"other mesh", b"mesh"), strict=True):
        path.write_bytes(content)
    return paths


def gaze_request(tmp_path, mesh, **changes):
    config = GazeGaussianRun(meshhead_checkpoint=mesh)
    return StudySpec(config, study_file(**changes), tmp_path, train=fake_train, check=lambda _: None)


def test_trials_of_one_study_start_from_one_mesh_head(tmp_path, meshes):
    first, other, moved = meshes
    run_study(gaze_request(tmp_path, first, trials=1))
    with pytest.raises(ConfigError, match=rf"starts from the MeshHead {first}, and {other} is another one"):
        run_study(gaze_request(tmp_path, other, trials=2))
    assert len(run_study(gaze_request(tmp_path, moved, trials=2)).trials) == 2


def test_a_resumed_study_keeps_its_mesh_head_when_none_is_named(tmp_path, meshes):
    first, other, _ = meshes
    name = "gazegaussian_quick"
    again = default_spec("gazegaussian", out=tmp_path, meshhead=first)
    begun = replace(again, study=study_file(study_name=name, trials=1), train=fake_train, check=lambda _: None)
    run_study(begun)
    assert default_spec("gazegaussian", out=tmp_path, study_name=name).config.meshhead_checkpoint == first
    assert default_spec("gazegaussian", out=tmp_path, meshhead=other).config.meshhead_checkpoint == other
    first.unlink()
    with pytest.raises(ConfigError, match=r"which is not there any more.*--meshhead"):
        default_spec("gazegaussian", out=tmp_path, study_name=name)


def test_a_study_that_ended_before_its_first_epoch_says_so_instead_of_an_empty_report(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        study = run(replace(spec(tmp_path, trials=2), timeout=0.0), audit=False)
    assert not [trial for trial in study.trials if trial.state != TrialState.WAITING]
    assert "study toy ended before its first epoch" in caplog.text
    assert not (tmp_path / "toy" / "report.html").exists()
    assert not (tmp_path / "toy" / "figures").exists()


def test_a_complete_study_is_left_as_it_is_and_drawn_only_when_a_drawing_lacks(tmp_path, monkeypatch, caplog):
    drawn = []

    def draw(study, folder, storage=None):
        drawn.append(len(study.trials))
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / "history.html").touch()
        (folder / "report.html").touch()

    monkeypatch.setattr("helpers.reporting.report.report", draw)
    run(spec(tmp_path, trials=2), audit=False)
    before = dict(load_study(tmp_path / "toy").user_attrs)
    other = spec(tmp_path, trials=1, seed=5, pruner={"name": "none"})
    with caplog.at_level(logging.INFO):
        assert dict(run(other).user_attrs) == before
    assert "has 2 finished trials, 1 is asked for: nothing to add" in caplog.text
    assert drawn == [2]
    os.utime(tmp_path / "toy" / "report.html", (0, 0))
    run(other)
    (tmp_path / "toy" / "figures" / "history.html").unlink()
    (tmp_path / "toy" / "summary.csv").unlink()
    run(other)
    assert drawn == [2, 2, 2]
    assert (tmp_path / "toy" / "summary.csv").is_file()
    assert dict(load_study(tmp_path / "toy").user_attrs) == before
    with pytest.raises(ConfigError, match="another search space"):
        run(spec(tmp_path, trials=1, metric="silhouette_iou"))


@pytest.mark.parametrize("sampler", [{"name": "tpe", "kwargs": {"n_startup_trials": 3}}, {"name": "random"}])
def test_an_interrupted_study_proposes_what_an_uninterrupted_one_does(tmp_path, sampler):
    changes = {"trials": 6, "epochs": 1, "sampler": sampler, "pruner": {"name": "none"}}
    whole = run_study(spec(tmp_path / "whole", **changes))
    calls = []

    def train(config, run_dir, hooks, resume):
        calls.append(run_dir)
        if len(calls) in (2, 3, 6):
            raise KeyboardInterrupt
        return fake_train(config, run_dir, hooks, resume)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_study(spec(tmp_path / "cut", train, **changes))
    cut = run_study(spec(tmp_path / "cut", train, **changes))
    done = [trial for trial in cut.trials if trial.state == TrialState.COMPLETE]
    assert sum(RESUME_OF in trial.user_attrs for trial in cut.trials) == 3
    assert sorted(t.params["lr"] for t in done) == sorted(t.params["lr"] for t in whole.trials)


def test_another_seed_or_pruner_goes_on_and_is_logged_once(tmp_path, caplog):
    run_study(spec(tmp_path, trials=1))
    assert "from the next trial on" not in caplog.text
    changed = {"seed": 5, "pruner": {"name": "percentile", "kwargs": {"percentile": 40.0}}}
    for trials, said in ((2, True), (3, False)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            study = run_study(spec(tmp_path, trials=trials, **changed))
        lines = [line for line in caplog.messages if "from the next trial on" in line]
        assert len(lines) == said
        assert not said or "sampler seed 0 -> 5, pruner median" in lines[0]
        assert not said or "-> percentile: PercentilePruner (percentile 40.0, n_startup_trials 5, " in lines[0]
    assert study.user_attrs["environment"]["sampler seed"] == "5"
    searched = [search_of(study, trial) for trial in study.trials]
    assert [search["sampler_seed"] for search in searched] == [0, 5, 5]
    assert [search["pruner"].partition(":")[0] for search in searched] == ["median", "percentile", "percentile"]
    study.enqueue_trial({}, user_attrs={"resume_of": 0})
    assert search_of(study, study.trials[3])["sampler_seed"] == 0, "goes on with parameters of trial 0"
    told = report_sections(study, tmp_path / "toy", parameter_importances(study), {})
    (lines,) = (section.lines for section in told if section.title == "Sampler and pruner")
    (line,) = (line for line in lines if line.startswith("Before trial 1: sampler "))
    assert "seed 0; pruner median" in line


def test_where_a_study_ran_and_its_seeds_are_stored(tmp_path):
    stored = run_study(spec(tmp_path, trials=1, seed=5)).user_attrs["environment"]
    assert stored["optuna"] == optuna.__version__
    assert stored["sampler seed"] == "5"
    assert stored["training seed"] == "0"


def test_a_renamed_folder_still_opens_and_another_name_in_a_shared_store_is_named(tmp_path):
    run_study(spec(tmp_path, trials=1))
    (tmp_path / "toy").rename(tmp_path / "renamed")
    assert load_study(tmp_path / "renamed").study_name == "toy"
    url = f"sqlite:///{tmp_path / 'renamed' / 'study.db'}"
    with pytest.raises(ConfigError, match=r"no study named 'renamed'.*it holds toy"):
        load_study(tmp_path / "renamed", url)
    with pytest.raises(ConfigError, match=rf"No study at .*nowhere.* {tmp_path} holds renamed\."):
        load_study(tmp_path / "nowhere")


def test_a_new_place_of_results_is_named_once(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        run_study(spec(Path("results"), trials=1))
        run_study(spec(Path("results"), trials=2))
        run_study(spec(Path("results"), trials=1, study_name="other"))
    assert [m for m in caplog.messages if "created now" in m] == [
        f"results: {tmp_path / 'results'} (created now; choose another folder with --out)"
    ]


def test_a_folder_of_studies_names_them(tmp_path):
    for name in ("one", "two"):
        run_study(spec(tmp_path, trials=1, study_name=name))
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=rf"holds 2: name one of them, such as {tmp_path / 'one'} \(one, two\)"):
        load_study(tmp_path)
    with pytest.raises(UserError, match="No study at"):
        load_study(tmp_path / "other")


def test_a_renamed_folder_is_not_taken_over_by_another_study(tmp_path):
    run_study(spec(tmp_path, trials=1))
    (tmp_path / "toy").rename(tmp_path / "renamed")
    weights = tmp_path / "renamed" / "trial_0000" / "best.pt"
    weights.write_bytes(b"of the first study")
    with pytest.raises(ConfigError, match=r"renamed holds the study 'toy'.*--study-name"):
        run_study(spec(tmp_path, trials=1, study_name="renamed"))
    assert weights.read_bytes() == b"of the first study"
    assert [t.number for t in load_study(tmp_path / "renamed").trials] == [0]

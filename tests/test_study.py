"""Studies with a small stand-in for training: states, resume, requeueing, results. The real thing runs in test_end_to_end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from gazegaussian.config import GazeGaussianRun, MeshHeadRun
from gazegaussian.errors import ConfigError, DataError, NonFiniteError
from gazegaussian.training.trainer import TrainResult
from helpers import StudyRequest, best_trial, load_study, run_study, save_figures, summary_rows, top_trials
from helpers.files import read_parameters
from helpers.pruning import make_pruner, make_sampler
from helpers.search_space import Component, StudyFile, baseline, load_study_file

SPACE = {"optimisation": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}}}


def study_file(**changes) -> StudyFile:
    content = {"study_name": "toy", "trials": 6, "epochs": 8, "search_space": SPACE, **changes}
    return StudyFile.model_validate(content)


class FakeTrainer:
    """What hooks see of a trainer."""

    def __init__(self):
        self.history = []


def fake_train(config, run_dir, hooks, resume, slope=1.0, seconds=0.0):
    """A learning curve that depends on lr alone; reports like the real loop."""
    run_dir.mkdir(parents=True, exist_ok=True)
    trainer, values = FakeTrainer(), []
    for hook in hooks:
        hook.on_fit_start(trainer)
    for epoch in range(config.training.epochs):
        value = abs(torch.log10(torch.tensor(config.optim.lr)).item() + 3) * slope + 1 / (epoch + 1)
        values.append(value)
        (run_dir / "best.pt").write_bytes(b"weights")
        time.sleep(seconds)
        for hook in hooks:
            hook.on_epoch_end(trainer, epoch, {config.training.monitor: value})
    best = min(values)
    return TrainResult(best, values.index(best), [], run_dir / "best.pt", run_dir / "last.pt")


def request(tmp_path, train=fake_train, **changes) -> StudyRequest:
    return StudyRequest(MeshHeadRun(), study_file(**changes), tmp_path, train=train, check=lambda config: None)


def states(study):
    return [trial.state for trial in study.trials]


def test_baseline_is_the_first_trial_and_pruned_is_stored_as_pruned(tmp_path):
    study = run_study(request(tmp_path, trials=12))
    assert study.trials[0].params == {"lr": MeshHeadRun().optim.lr}
    assert study.trials[0].user_attrs["baseline"] is True
    assert TrialState.PRUNED in states(study)
    assert set(states(study)) == {TrialState.COMPLETE, TrialState.PRUNED}
    pruned = next(t for t in study.trials if t.state == TrialState.PRUNED)
    assert len(pruned.intermediate_values) >= 6  # five epochs of warm-up


def test_same_command_adds_nothing_and_more_trials_continue(tmp_path, caplog):
    run_study(request(tmp_path))
    with caplog.at_level("INFO"):
        again = run_study(request(tmp_path))
    assert len(again.trials) == 6
    assert "nothing to add" in caplog.text
    more = run_study(request(tmp_path, trials=9))
    assert len(more.trials) == 9
    suggestions = [t.params["lr"] for t in more.trials]
    assert len(set(suggestions)) == 9, "a resumed sampler repeated its first suggestions"


def test_best_parameters_on_disk_are_the_winner(tmp_path):
    study = run_study(request(tmp_path))
    best = best_trial(study)
    for name in ("best.json", "best.yaml"):
        assert read_parameters(tmp_path / "toy" / name) == pytest.approx(best.params)
    content = json.loads((tmp_path / "toy" / "best.json").read_text())
    assert content["value"] == min(t.value for t in study.trials if t.state == TrialState.COMPLETE)
    assert Path(content["checkpoint"]).read_bytes() == b"weights"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("error", [NonFiniteError("bad loss"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_failed_trial_keeps_its_reason_and_the_study_goes_on(tmp_path, error):
    calls = []

    def train(config, run_dir, hooks, resume):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return fake_train(config, run_dir, hooks, resume)

    study = run_study(request(tmp_path, train))
    assert states(study).count(TrialState.FAIL) == 1
    assert type(error).__name__ in study.trials[1].user_attrs["fail_reason"]
    assert sum(s in (TrialState.COMPLETE, TrialState.PRUNED) for s in states(study)) == 6


def test_failures_in_a_row_stop_the_study_with_the_cause(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise ZeroDivisionError("broken model")

    with pytest.raises(RuntimeError, match=r"3 trials failed in a row.*broken model"):
        run_study(request(tmp_path, train))


def test_bad_input_ends_the_study_at_once(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise DataError("file is damaged")

    with pytest.raises(DataError):
        run_study(request(tmp_path, train))


def test_ctrl_c_queues_the_trial_again_with_the_same_parameters(tmp_path):
    def train(config, run_dir, hooks, resume):
        raise KeyboardInterrupt

    run_study(request(tmp_path, trials=2))
    with pytest.raises(KeyboardInterrupt):
        run_study(request(tmp_path, train, trials=3))
    study = run_study(request(tmp_path, trials=3))
    interrupted, retried = study.trials[2:]
    assert (interrupted.state, retried.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert retried.params == interrupted.params
    assert retried.user_attrs["resume_of"] == 2


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from functools import partial
from test_study import fake_train, request
from helpers import run_study
run_study(request(Path({out!r}), partial(fake_train, seconds=1.0), trials=6))
"""


def test_sigkill_in_the_middle_loses_no_trial(tmp_path, repo_root):
    code = KILLED.format(root=str(repo_root), tests=str(repo_root / "tests"), out=str(tmp_path))
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=repo_root)
        database = tmp_path / "toy" / "study.db"
        deadline = time.monotonic() + 60
        before = len(load_trials(database))
        while time.monotonic() < deadline and not any(
            t.state == TrialState.RUNNING and t.intermediate_values for t in load_trials(database)[before:]
        ):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    study = run_study(request(tmp_path, trials=6))
    killed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert len(killed) == 3
    for trial in killed:
        retries = [t for t in study.trials if t.user_attrs.get("resume_of") == trial.number]
        assert [t.params for t in retries] == [trial.params]
    assert sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in study.trials) == 6
    assert TrialState.RUNNING not in states(study)


def load_trials(database):
    try:
        return optuna.load_study(study_name="toy", storage=f"sqlite:///{database}").trials if database.exists() else []
    except Exception:  # the writer is in the middle of creating its tables
        return []


def test_trial_of_a_live_process_is_left_alone(tmp_path):
    from helpers.ownership import current_owner, reap

    study = run_study(request(tmp_path, trials=1))
    trial = study.ask()
    trial.set_user_attr("owner", current_owner())
    assert reap(study) == []
    assert study.trials[-1].state == TrialState.RUNNING


def test_another_space_under_the_same_name_is_refused(tmp_path):
    run_study(request(tmp_path, trials=1))
    other = {"optimisation": {"lr": {"type": "float", "min": 1e-4, "max": 1e-2, "log": True}}}
    with pytest.raises(ConfigError, match=r"another search space.*--study-name"):
        run_study(request(tmp_path, search_space=other))


def test_top_trials_have_the_documented_shape(tmp_path):
    study = run_study(request(tmp_path, trials=12))
    rows = top_trials(study, 3)
    values = [row["metrics"]["val_loss"]["min"] for row in rows]
    assert values == sorted(values)
    assert set(rows[0]) == {"trial", "hyperparameters", "metrics"}
    assert set(rows[0]["metrics"]["val_loss"]) == {"last", "min", "max"}
    complete = {t.number for t in study.trials if t.state == TrialState.COMPLETE}
    assert {row["trial"] for row in top_trials(study, 12, only_completed=True)} == complete


def test_figures_are_written_as_offline_html(tmp_path):
    study = run_study(request(tmp_path, trials=6))
    paths = save_figures(study, tmp_path / "figures", png=False)
    assert {p.name for p in paths} >= {"history.html", "importances.html", "intermediate_values.html"}
    text = (tmp_path / "figures" / "history.html").read_text()
    assert "cdn.plot.ly" not in text
    assert (tmp_path / "figures" / "plotly.min.js").stat().st_size > 1e6


def test_summary_has_a_row_per_trial(tmp_path):
    study = run_study(request(tmp_path, trials=4))
    rows = summary_rows(study)
    assert [row["trial"] for row in rows] == [t.number for t in study.trials]
    assert (tmp_path / "toy" / "summary.csv").read_text().count("\n") == len(rows) + 1


def test_load_study_names_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="No study at"):
        load_study(tmp_path / "nothing")


def test_unknown_parameter_lists_the_known(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("study_name: a\ntrials: 1\nsearch_space:\n  x:\n    learning_rte: {type: int, min: 1, max: 2}\n")
    with pytest.raises(ConfigError, match=r"unknown parameter 'learning_rte'.*Known: .*lr"):
        load_study_file(path, "meshhead")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"type": "float", "min": 1.0, "max": 0.1}, "min 1.0 is above max 0.1"),
        ({"type": "float", "min": 0.0, "max": 0.1, "log": True}, "log needs min > 0"),
        ({"type": "categorical", "choices": []}, "choices"),
        ({"type": "float", "min": 0.0, "max": 0.1, "stepp": 1}, "stepp"),
    ],
)
def test_impossible_spaces_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        study_file(search_space={"x": {"lr": space}})


def test_baseline_outside_its_space_is_an_error():
    with pytest.raises(ConfigError, match=r"baseline.s lr = 0\.001 lies outside"):
        baseline(study_file(search_space={"x": {"lr": {"type": "float", "min": 0.01, "max": 0.1}}}), MeshHeadRun())


@pytest.mark.parametrize("stage", ["meshhead", "gazegaussian"])
@pytest.mark.parametrize("size", ["quick", "demo", "published"])
def test_shipped_study_files_hold_the_whole_space(stage, size, repo_root):
    from gazegaussian.config import load_run

    study = load_study_file(repo_root / "configs" / f"{stage}_{size}_study.yaml", stage)
    config = load_run(repo_root / "configs" / f"{stage}_{size}.yaml", stage)
    assert baseline(study, config)
    expected = {
        "meshhead": {"lr", "batch_size", "shape_mlp_width", "pose_mlp_width", "eye_mlp_width"},
        "gazegaussian": {
            "lr", "eye_lr_mult", "dit_depth", "dit_num_heads", "dit_patch_size", "vgg_importance",
            "eye_loss_importance", "gaze_loss_importance", "orthogonality_loss_importance",
        },
    }  # fmt: skip
    assert set(study.parameters) == expected[stage]


def test_pruners_and_samplers_by_name():
    median = make_pruner(Component(name="median"), 10)
    assert (median._n_startup_trials, median._n_warmup_steps, median._interval_steps) == (3, 5, 1)
    hyperband = make_pruner(Component(name="hyperband"), 30)
    assert (hyperband._min_resource, hyperband._max_resource, hyperband._reduction_factor) == (5, 30, 3)
    dotted = make_pruner(Component(name="optuna.pruners.PercentilePruner", kwargs={"percentile": 25.0}), 10)
    assert isinstance(dotted, optuna.pruners.PercentilePruner)
    assert isinstance(make_sampler(Component(name="tpe"), 1), optuna.samplers.TPESampler)
    for name in ("os.system", "nonsense", "optuna.pruners.os"):
        with pytest.raises(ConfigError, match=r"Unknown optuna\.pruners"):
            make_pruner(Component(name=name), 10)
    with pytest.raises(ConfigError, match="refuses"):
        make_pruner(Component(name="median", kwargs={"n_startup": 3}), 10)


def test_hyperband_study_ends_with_the_right_states(tmp_path):
    study = run_study(request(tmp_path, trials=10, pruner={"name": "hyperband"}))
    assert set(states(study)) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(study.trials) == 10


def test_gazegaussian_defaults_are_the_published_baseline():
    run = GazeGaussianRun()
    assert (run.optim.lr, run.model.dit_depth, run.model.dit_num_heads, run.model.dit_patch_size) == (1e-4, 6, 8, 8)
    assert (run.loss.vgg_importance, run.loss.gaze_loss_importance, run.loss.eye_loss_importance) == (0.1, 0.1, 1.0)


def line_train(config, run_dir, hooks, resume):
    """Another model under the same machinery: the stage protocol with the real trainer."""
    from test_trainer import LineStage

    from gazegaussian.training.trainer import Trainer

    trainer = Trainer(LineStage(), config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
    return trainer.fit(resume=run_dir / "last.pt" if resume else None)


def test_interrupted_trial_goes_on_from_its_last_epoch_with_the_same_curve(tmp_path):
    from gazegaussian.training.hooks import Hook

    class Interrupt(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    def interrupted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, Interrupt()], resume)

    whole = run_study(request(tmp_path / "whole", line_train, trials=1))
    with pytest.raises(KeyboardInterrupt):
        run_study(request(tmp_path / "cut", interrupted, trials=1))
    epochs = []

    class Count(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            epochs.append(epoch)

    def counted(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [*hooks, Count()], resume)

    resumed = run_study(request(tmp_path / "cut", counted, trials=1))
    assert epochs == [4, 5, 6, 7]
    assert resumed.trials[1].intermediate_values == whole.trials[0].intermediate_values
    assert resumed.trials[1].value == whole.trials[0].value

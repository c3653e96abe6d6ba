"""What the script shows before and beside its work."""

import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise

import optuna
import pytest
from repository import ROOT
from study_support import run_study, spec
from trainer_support import LineStage

import train_gazegaussian_optuna
from gazegaussian.errors import ConfigError
from gazegaussian.training.trainer import Trainer
from gazegaussian.utils.signs_of_life import signs_of_life
from helpers import load_study
from helpers.cli.studies import _print_trials
from helpers.results.attributes import METRIC
from helpers.utils.tables import CELL_VARIABLE

SCRIPT = ROOT / "train_gazegaussian_optuna.py"


def shown(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *args])
    monkeypatch.setenv("COLUMNS", "80")
    with suppress(SystemExit):
        train_gazegaussian_optuna.main()
    return capsys.readouterr().out


def test_help_is_whole_and_fits(monkeypatch, capsys):
    whole = shown(monkeypatch, capsys, "--help")
    assert shown(monkeypatch, capsys, "-h") == whole
    assert whole.count("...") == 1  # of the usage: no summary is cut
    assert max(map(len, whole.splitlines())) <= 80
    for command in train_gazegaussian_optuna.COMMANDS:
        text = shown(monkeypatch, capsys, command, "-h")
        assert "PATH" not in text
        assert "INTEGER" not in text
        assert "TEXT" not in text


def test_the_version_is_that_of_the_project(monkeypatch, capsys):
    said = shown(monkeypatch, capsys, "--version")
    assert f'version = "{said.split()[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_shell_completes_commands():
    settings = {"_TRAIN_GAZEGAUSSIAN_OPTUNA.PY_COMPLETE": "complete_bash", "COMP_WORDS": "script st", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, SCRIPT], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["study"]


FIRST_LINE = """
import runpy, sys, time
class Watch:
    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)
    def write(self, text):
        if text.strip():
            loaded = {"torch", "optuna", "plotly", "sklearn", "pandas"} & set(sys.modules)
            sys.__stdout__.write(f"{time.process_time()} {sorted(loaded)} {text}")
            sys.__stdout__.flush()
            import os; os._exit(0)
sys.stderr = Watch()
sys.argv = ["train_gazegaussian_optuna.py", *{args!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.parametrize("args", [["study", "meshhead"], ["train", "meshhead"], ["report", "x"], ["confirm", "x"]])
def test_the_first_line_comes_within_a_second_of_work(args):
    """Before any package that takes long: seconds of this process, since a busy machine says nothing about the script."""
    text = FIRST_LINE.replace("{args!r}", repr(args)).replace("{script!r}", repr(str(SCRIPT)))
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds, loaded, *line = done.stdout.split()
    assert float(seconds) < 1.0
    assert loaded == "[]"
    assert line[1:] == [f"{args[0]}:", "reading", "the", "settings"]


def slow_train(config, run_dir, hooks, resume):
    """A real trainer whose first epoch takes twelve seconds, of sleep."""
    stage = LineStage()
    usual = stage.losses

    def losses(batch, epoch):
        time.sleep(0 if epoch else 3)
        return usual(batch, epoch)

    stage.losses = losses
    return Trainer(stage, config.training, config.optim, run_dir, hooks, config.model_dump(mode="json")).fit()


def test_a_study_is_never_silent_for_ten_seconds_and_says_the_time_left(tmp_path, caplog):
    started = time.time()
    with caplog.at_level(logging.INFO), signs_of_life():
        run_study(spec(tmp_path, slow_train, trials=1, epochs=2))
    times = [started, *(record.created for record in caplog.records), time.time()]
    assert max(after - before for before, after in pairwise(times)) < 10
    lines = [record.getMessage() for record in caplog.records]
    epochs = [line for line in lines if line.startswith("epoch ") and "train" in line]
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert " s left  (trial 0; study: 0 of 1 finished, about " in epochs[0]
    assert any(line.startswith(("still at work (", "epoch 1/2, batches: ")) for line in lines)


def test_a_study_of_several_objectives_ends_with_its_pareto_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv(CELL_VARIABLE, raising=False)
    study = optuna.create_study(study_name="two", directions=["minimize", "minimize"])
    study.set_user_attr(METRIC, "val_loss")
    lr = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
    for values in ([3.0, 1.0], [1.0, 3.0], [3.0, 3.0]):
        study.add_trial(optuna.trial.create_trial(params={"lr": 1e-3}, distributions=lr, values=values))
    _print_trials(study, tmp_path / "best.json", wide=False)
    front = capsys.readouterr().out.split("Pareto front")[1]
    assert "│ 0 " in front
    assert "│ 1 " in front
    assert "│ 2 " not in front
    assert "trial 1" in front


class Named(LineStage):
    """Tells what it measures."""

    def metric_names(self):
        return frozenset(self.validate())


@pytest.mark.parametrize("changes", [{"metric": "val_los"}, {"constraints": {"gaze_error": "<= 8"}}])
def test_a_wrong_name_of_a_metric_or_constraint_costs_no_epoch(tmp_path, changes):
    trained = []

    class Stage(Named):
        def batches(self, epoch):
            trained.append(epoch)
            return super().batches(epoch)

    def train(config, run_dir, hooks, resume):
        return Trainer(Stage(), config.training, config.optim, run_dir, hooks, {}).fit()

    with pytest.raises(ConfigError, match=r"not measured.*measured: .*val_loss"):
        run_study(spec(tmp_path, train, **changes))
    assert not trained
    assert load_study(tmp_path / "toy").trials[0].state.name == "FAIL"


def test_looking_at_the_names_changes_no_bit(tmp_path):
    def result(stage, folder):
        from gazegaussian.config import OptimConfig, TrainingConfig

        return Trainer(stage, TrainingConfig(epochs=2, device="cpu"), OptimConfig(lr=0.01), folder).fit().best_metric

    assert result(Named(), tmp_path / "a") == result(LineStage(), tmp_path / "b")

"""Shared by tests: study."""

from __future__ import annotations

import time

import optuna
import torch

from gazegaussian.config import MeshHeadRun
from gazegaussian.training.trainer import TrainResult
from helpers import StudySpec, run
from helpers.search.space import StudyFile

SPACE = {"optimisation": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}}}


def study_file(**changes) -> StudyFile:
    content = {"study_name": "toy", "trials": 6, "epochs": 8, "search_space": SPACE, **changes}
    return StudyFile.model_validate(content)


class FakeTrainer:
    """What hooks see of a trainer."""

    def __init__(self, config=None):
        self.history = []
        self.parameters = []
        self.config = config


def fake_train(config, run_dir, hooks, resume, slope=1.0, seconds=0.0):
    """A learning curve that depends on lr alone; reports like the real loop."""
    run_dir.mkdir(parents=True, exist_ok=True)
    trainer = FakeTrainer(config.training)
    values = []
    for hook in hooks:
        hook.on_fit_start(trainer)
    for epoch in range(config.training.epochs):
        value = abs(torch.log10(torch.tensor(config.optim.lr)).item() + 3) * slope + 1 / (epoch + 1)
        values.append(value)
        (run_dir / "best.pt").write_bytes(b"weights")
        time.sleep(seconds)
        row = {config.training.monitor: value, "size": float(epoch), "seconds": 2.0}
        trainer.history.append(row)
        for hook in hooks:
            hook.on_epoch_end(trainer, epoch, row)
    best = min(values)
    return TrainResult(best, values.index(best), trainer.history, run_dir / "best.pt", run_dir / "last.pt")


def spec(tmp_path, train=fake_train, **changes) -> StudySpec:
    return StudySpec(MeshHeadRun(), study_file(**changes), tmp_path, train=train, check=lambda config: None)


def run_study(asked: StudySpec) -> optuna.Study:
    """Run a study's trials alone: the audit and the figures have tests of their own."""
    return run(asked, audit=False, figures=False)


def line_train(config, run_dir, hooks, resume):
    """Another model under the same machinery: the stage protocol with the real trainer."""
    from trainer_support import LineStage

    from gazegaussian.training.trainer import Trainer

    trainer = Trainer(LineStage(), config.training, config.optim, run_dir, hooks, config.model_dump(mode="json"))
    return trainer.fit(resume=run_dir / "last.pt" if resume else None)

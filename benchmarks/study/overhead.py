"""What does the machinery cost per epoch? A study of an empty model (one weight, no data) with the real trainer.

    python -m benchmarks.study.overhead [--trials 30] [--epochs 20] [--out DIR]

Printed, as medians: an epoch of the trainer alone (checkpoints, metrics.csv, image), an epoch of the same trainer in a study
(report, pruner, budgets, owner, storage), with and without a process per trial, and what a trial costs besides its epochs
(ask, tell, tables, start of a process). The share is of an epoch of 10 s, the shortest that real trainings have.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from gazegaussian.config import MeshHeadRun, OptimConfig, RunConfig, with_parameters
from gazegaussian.training.hooks import Hook
from gazegaussian.training.run_folder import resume_point
from gazegaussian.training.trainer import Trainer, TrainResult
from helpers import StudySpec, run
from helpers.search.space import StudyFile

LONG_EPOCH = 10.0  # seconds
SPACE = {"optimisation": {"lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True}}}


class EmptyStage:
    """Implements the stage protocol with next to nothing."""

    name = "empty"
    variant = "default"

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.module = nn.Linear(1, 1)

    def architecture(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def parameter_groups(self, optim: OptimConfig) -> list[dict[str, Any]]:
        """One group."""
        return [{"name": "all", "params": list(self.module.parameters()), "lr": optim.lr}]

    def prepare(self) -> None:
        """Nothing."""

    def batches(self, epoch: int) -> list[Tensor]:
        """One number."""
        return [torch.zeros(1, 1)]

    def losses(self, batch: Tensor, epoch: int) -> dict[str, Tensor]:
        """A line's height."""
        return {"height": self.module(batch).square().mean()}

    def validate(self) -> dict[str, float]:
        """A value that the pruner can tell from others."""
        return {"val_loss": abs(self.lr - 1e-3)}

    def preview(self) -> Tensor:
        """A small image."""
        return torch.zeros(3, 64, 64)

    def to(self, device: torch.device) -> None:
        """Nothing."""


class Clock(Hook):
    """Writes the time of every epoch's end beside the training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Append."""
        with self.path.open("a") as stream:
            stream.write(f"{time.time():.6f}\n")


def train(config: RunConfig, folder: Path, hooks: Sequence[Hook], resume: bool) -> TrainResult:
    """Train the empty model with the real trainer."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = EmptyStage(config.optim.lr)
    content = config.model_dump(mode="json")
    watched = [*hooks, Clock(folder / "clock.txt")]
    trainer = Trainer(stage, config.training, config.optim, folder, watched, content)
    return trainer.fit(resume=resume_point(folder) if resume else None)


def epoch_seconds(folder: Path) -> list[float]:
    """Durations of all epochs but the first of the trainings in a folder."""
    seconds = []
    for path in folder.glob("**/clock.txt"):
        ends = [float(line) for line in path.read_text().split()]
        seconds += [after - before for before, after in itertools.pairwise(ends)]
    return seconds


def study_seconds(out: Path, config: RunConfig, trials: int, isolate: bool) -> tuple[list[float], float]:
    """Run a study; returns the durations of its epochs and the seconds that a trial costs besides."""
    study = StudyFile.model_validate(
        {"study_name": "overhead", "trials": trials, "search_space": SPACE, "pruner": {"name": "median"}}
    )
    started = time.perf_counter()
    run(StudySpec(config, study, out, train=train, check=lambda _: None, isolate=isolate), audit=False, figures=False)
    whole = time.perf_counter() - started
    epochs = epoch_seconds(out)
    return epochs, (whole - sum(epochs)) / trials


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where to write; the disk is a part of the cost")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.disable(logging.INFO)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="overhead-"))
    config = with_parameters(MeshHeadRun(), {"epochs": arguments.epochs, "device": "cpu"})
    for number in range(5):
        train(config, out / "alone" / str(number), [], False)
    alone = epoch_seconds(out / "alone")
    rows: list[tuple[str, list[float], float | None]] = [("trainer alone", alone, None)]
    for name, isolate in (("in a study", False), ("in a study, a process per trial", True)):
        rows.append(
            (name, *study_seconds(out / name.replace(",", "").replace(" ", "_"), config, arguments.trials, isolate))
        )
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, optuna {optuna.__version__}, SQLite\n"
    )
    print(
        "| epoch | median, ms | 95th percentile, ms | added to the trainer's, ms | share of a 10 s epoch | per trial besides, s |"
    )
    print("|---|---|---|---|---|---|")
    for name, epochs, besides in rows:
        middle = statistics.median(epochs)
        high = statistics.quantiles(epochs, n=20)[-1]
        added = middle - statistics.median(alone)
        beside = "" if besides is None else f"{besides:.2f}"
        print(
            f"| {name} | {1e3 * middle:.1f} | {1e3 * high:.1f} | {1e3 * added:.1f} | {added / LONG_EPOCH:.2%} | {beside} |"
        )


if __name__ == "__main__":
    main()

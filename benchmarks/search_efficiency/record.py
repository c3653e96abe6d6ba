"""Trains random configurations of a stage to the end, without pruning, and keeps their learning curves.

    python -m benchmarks.search_efficiency.record meshhead --count 301 --part 0/2
    python -m benchmarks.search_efficiency.record gazegaussian --meshhead CHECKPOINT

Configuration 0 is the baseline; configuration i is a function of `--seed` and i. Run again, and what is recorded is passed
over; several processes share the work by `--part`. The training seed is the run configuration's, as in a study.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import logging
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from benchmarks.search_efficiency.curves import DIGITS, Curve, Header, Status, append, create, read
from gazegaussian.build import load_mesh_head, preflight, resolve_data
from gazegaussian.config import GazeGaussianRun, RunConfig, load_run, with_parameters
from gazegaussian.data import HeadDataset
from gazegaussian.errors import ConfigError, NonFiniteError, UserError, class_and_line
from gazegaussian.training.gaze_gaussian_stage import GazeGaussianStage
from gazegaussian.training.hooks import Hook
from gazegaussian.training.mesh_head_stage import MeshHeadStage
from gazegaussian.training.stage import Stage
from gazegaussian.training.trainer import Trainer
from helpers.search_space import StudyFile, baseline, check_space, load_study_file

logger = logging.getLogger(__name__)


def draw(study: StudyFile, config: RunConfig, seed: int, index: int) -> dict[str, Any]:
    """Return configuration `index`: the baseline, then random ones, rounded as they are kept."""
    if index == 0:
        return baseline(study, config)
    own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    drawn = study.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=own_seed)).ask())
    for name, value in drawn.items():
        rounded = float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        if study.parameters[name].contains(rounded):
            drawn[name] = rounded
    return drawn


@functools.lru_cache(maxsize=2)
def _datasets(root: Path, size: int) -> tuple[HeadDataset, HeadDataset]:
    return HeadDataset(root, "train", size, cache=True), HeadDataset(root, "val", size, cache=True)


def build(config: RunConfig) -> Stage:
    """Do what `gazegaussian.build.build_stage` does, with the images of the configuration before."""
    train, validation = _datasets(resolve_data(config), config.data.image_size)
    torch.manual_seed(config.training.seed)
    if not isinstance(config, GazeGaussianRun):
        return MeshHeadStage(config, train, validation)
    assert config.meshhead_checkpoint is not None
    # Loaded anew each time: it draws the random numbers that it draws in a study.
    return GazeGaussianStage(config, load_mesh_head(config.meshhead_checkpoint), train, validation)


def train(config: RunConfig, index: int, params: dict[str, Any]) -> Curve:
    """Train one configuration to the end, or until it diverges or fails.

    Args:
        config: The run configuration of all; its monitored metric is recorded.
        index: Of the configuration.
        params: Its searched parameters.

    Raises:
        UserError: Data or checkpoint cannot be used, which no configuration is to blame for.
    """
    rows: list[dict[str, float]] = []
    status: Status = "complete"
    reason, started = "", time.monotonic()
    try:
        own = with_parameters(config, params, f"configuration {index}")
        with tempfile.TemporaryDirectory(prefix="curve_") as folder:
            trainer = Trainer(build(own), own.training, own.optim, Path(folder), [_Rows(rows)])
            trainer.fit()
    except ConfigError as error:
        status, reason = "failed", str(error)
    except NonFiniteError as error:
        status, reason = "diverged", str(error)
    except (RuntimeError, ArithmeticError, ValueError) as error:  # out of memory, an empty surface
        logger.exception("configuration %d", index)
        status, reason = "failed", class_and_line(error)
    values = [row[config.training.monitor] for row in rows]
    if status == "complete" and not np.isfinite(values).all():
        status, reason = "diverged", f"{config.training.monitor} was not finite"
    seconds = [row["seconds"] for row in rows]
    return Curve(
        index=index,
        params=params,
        status=status,
        values=tuple(values),
        seconds=tuple(seconds),
        train_seconds=tuple(row["train_seconds"] for row in rows),
        warm_up_seconds=max(0.0, time.monotonic() - started - sum(seconds)),
        seed=config.training.seed,
        reason=reason,
    )


class _Rows(Hook):
    """Keeps the epochs that were trained, also when training ends with an error."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Copy the epoch."""
        self.rows.append(dict(metrics))


def record(path: Path, config: RunConfig, study: StudyFile, seed: int, indices: range) -> Iterator[Curve]:
    """Train the configurations that are not in the file yet, and add them one by one.

    Args:
        path: JSON lines, begun or continued.
        config: The run configuration.
        study: What is searched.
        seed: Of the drawn configurations.
        indices: Which configurations are this process's.

    Yields:
        The curves that were added.

    Raises:
        UserError: The configuration, data, checkpoint or file cannot be used.
    """
    if study.multi:
        raise ConfigError("Curves are recorded for one metric; the study file names several: give one.")
    searched = {"monitor": study.metrics[0], "monitor_mode": "max" if study.directions[0] == "maximize" else "min"}
    epochs = config.training.epochs if study.epochs is None else study.epochs
    config = with_parameters(config, {**searched, "epochs": epochs, "preview_images": 0, "patience": None})
    check_space(study, config)
    preflight(config)
    create(path, _header(config, study, seed))
    for index in indices:
        if index in {curve.index for curve in read(path)[1]}:
            continue
        curve = train(config, index, draw(study, config, seed, index))
        append(path, curve)
        yield curve


def _header(config: RunConfig, study: StudyFile, seed: int) -> Header:
    content, start = config.model_dump(mode="json"), ""
    if isinstance(config, GazeGaussianRun) and config.meshhead_checkpoint is not None:
        start = hashlib.sha256(config.meshhead_checkpoint.read_bytes()).hexdigest()[:12]
        content["meshhead_checkpoint"] = None  # where it lay says nothing about what it is
    return Header(
        stage=config.stage,
        epochs=config.training.epochs,
        seed=seed,
        config=content,
        study=study.model_dump(mode="json"),
        start=start,
        machine=f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads",
    )


def main() -> None:
    """Record one process's share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["meshhead", "gazegaussian"])
    parser.add_argument("--config", type=Path, help="default configs/STAGE_quick.yaml")
    parser.add_argument("--study", type=Path, help="default configs/STAGE_quick_study.yaml")
    parser.add_argument("--out", type=Path, help="default benchmarks/search_efficiency/STAGE.jsonl")
    parser.add_argument("--meshhead", type=Path, help="checkpoint that GazeGaussian starts from")
    parser.add_argument("--count", type=int, default=301, help="configurations, the baseline among them")
    parser.add_argument("--part", default="0/1", help="K/N: every N-th configuration from the K-th on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(given.threads)
    stage, part, parts = given.stage, *(int(number) for number in given.part.split("/"))
    if not 0 <= part < parts:
        parser.error(f"--part {given.part}: K counts from 0 and is below N")
    try:
        config = load_run(given.config or Path(f"configs/{stage}_quick.yaml"), stage)
        if given.meshhead is not None and isinstance(config, GazeGaussianRun):
            config = config.model_copy(update={"meshhead_checkpoint": given.meshhead})
        study = load_study_file(given.study or Path(f"configs/{stage}_quick_study.yaml"), stage)
        out = given.out or Path(f"benchmarks/search_efficiency/{stage}.jsonl")
        for curve in record(out, config, study, given.seed, range(part, given.count, parts)):
            logger.info("configuration %d %s: %s", curve.index, curve.status, curve.values)
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()

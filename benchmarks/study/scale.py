"""How many workers does one PostgreSQL server carry? Studies whose trainings cost nothing, by 1 to 64 processes.

    python -m benchmarks.study.scale [--workers 1 2 4 8 16 32 64] [--trials 128] [--epochs 5] [--epoch-seconds 0] [--storage URL]

All of the study's machinery is at work (lock, sampler, reports, pruner, owners), so that the load is that of trainings without
an end. Without `--storage` a server is started in a temporary folder, as installed but for its connections. Printed per
number of workers: trials per second, what a report takes, how long a worker waits for the study's lock and holds it per trial,
database transactions per trial, duplicates and trials too many (exit code 1 when there is one).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import sqlalchemy

import helpers.study.trial
from benchmarks.study.postgres_server import Server
from gazegaussian.config import MeshHeadRun, RunConfig, with_parameters
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TrainResult
from helpers import StudySpec, WorkerPool, run
from helpers.results.attributes import RESUME_OF
from helpers.search.space import StudyFile
from helpers.storage.locks import study_lock
from helpers.study.trial import FINISHED
from helpers.study.workers import fork_server

SPACE = {
    "optimisation": {
        "lr": {"type": "float", "min": 1e-5, "max": 1e-2, "log": True},
        "batch_size": {"type": "categorical", "choices": [1, 2]},
    },
    "networks": {
        name: {"type": "categorical", "choices": [64, 128, 256]}
        for name in ("shape_mlp_width", "pose_mlp_width", "eye_mlp_width")
    },
}


def note(folder: Path, what: str, seconds: float) -> None:
    """Append a measurement to the file of this process."""
    with (folder / f"{os.getpid()}.jsonl").open("a") as stream:
        stream.write(json.dumps([what, seconds]) + "\n")


def train(
    config: RunConfig, run_dir: Path, hooks: Sequence[Hook], resume: bool, notes: Path, seconds: float = 0.0
) -> TrainResult:
    """Report a learning curve that depends on the learning rate, and note what each report takes."""
    trainer: Any = SimpleNamespace(history=[], parameters=[])
    values = []
    for hook in hooks:
        hook.on_fit_start(trainer)
    for epoch in range(config.training.epochs):
        time.sleep(seconds)
        values.append(abs(config.optim.lr - 1e-3) + 1 / (epoch + 1))
        begun = time.perf_counter()
        for hook in hooks:
            hook.on_epoch_end(trainer, epoch, {config.training.monitor: values[-1]})
        note(notes, "report", time.perf_counter() - begun)
    best = min(values)
    return TrainResult(best, values.index(best), [], run_dir / "best.pt", run_dir / "last.pt")


@dataclass
class Measured:
    """One study."""

    workers: int
    rate: float  # trials per second
    transactions: float  # per trial
    duplicates: int
    too_many: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def row(self) -> str:
        """Of the Markdown table; milliseconds."""
        cells = [str(self.workers), f"{self.rate:.1f}"]
        for what in ("report", "wait", "hold"):
            seconds = self.seconds[what]
            cells.append(
                f"{1e3 * statistics.median(seconds):.0f} / {1e3 * statistics.quantiles(seconds, n=100)[-1]:.0f}"
            )
        return f"| {' | '.join([*cells, f'{self.transactions:.0f}', str(self.duplicates), str(self.too_many)])} |"


def watch_lock(notes: Path) -> None:
    """Note how long trials wait for the lock and hold it; workers inherit this, since they are forked."""

    @contextmanager
    def timed(study: optuna.Study, folder: Path) -> Iterator[None]:
        begun = time.perf_counter()
        with study_lock(study, folder):
            note(notes, "wait", time.perf_counter() - begun)
            begun = time.perf_counter()
            try:
                yield
            finally:
                note(notes, "hold", time.perf_counter() - begun)

    helpers.study.trial.study_lock = timed  # type: ignore[attr-defined]


def transactions(url: str) -> int:
    """Count what the database has done so far."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    asked = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    with engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text(asked)).scalar_one())


def measure(url: str, workers: int, trials: int, epochs: int, seconds: float) -> Measured:
    """Run one study."""
    out = Path(tempfile.mkdtemp(prefix="scale-"))
    notes = out / "notes"
    notes.mkdir()
    watch_lock(notes)
    config = with_parameters(MeshHeadRun(), {"epochs": epochs, "device": "cpu"})
    content = {"study_name": f"scale{workers}_{out.name}", "trials": trials, "search_space": SPACE}
    study_file = StudyFile.model_validate({**content, "pruner": {"name": "median"}})
    job = partial(train, notes=notes, seconds=seconds)
    spec = StudySpec(config, study_file, out, url, train=job, check=lambda _: None, pool=WorkerPool(workers))
    before = transactions(url)
    study = run(spec, audit=False, figures=False)
    done = study.get_trials(states=FINISHED)
    span = max(t.datetime_complete for t in done) - min(t.datetime_start for t in done)  # type: ignore[type-var, operator]
    # A choice may be proposed twice, a float not: `lr` tells two workers that were handed the same.
    again = Counter(trial.params["lr"] for trial in study.trials if RESUME_OF not in trial.user_attrs)
    measured: dict[str, list[float]] = {}
    for path in notes.glob("*.jsonl"):
        for what, value in map(json.loads, path.read_text().splitlines()):
            measured.setdefault(what, []).append(value)
    return Measured(
        workers,
        len(done) / span.total_seconds(),
        (transactions(url) - before) / len(done),
        sum(count - 1 for count in again.values()),
        len(done) - trials,
        measured,
    )


def main() -> int:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--epoch-seconds", type=float, default=0.0)
    parser.add_argument("--storage", help="PostgreSQL URL; default a server of its own")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.disable(logging.INFO)
    fork_server.START_METHOD = "fork"  # 64 times torch would measure the import
    server = None if arguments.storage else Server()
    try:
        url = arguments.storage or server.new_database("scale")  # type: ignore[union-attr]
        print("| workers | trials/s | report, ms p50 / p99 | wait for the lock, ms | lock held, ms | transactions per trial "
              "| duplicates | trials too many |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|")
        wrong = 0
        for workers in arguments.workers:
            measured = measure(url, workers, arguments.trials, arguments.epochs, arguments.epoch_seconds)
            wrong += abs(measured.duplicates) + abs(measured.too_many)
            print(measured.row(), flush=True)
    finally:
        if server is not None:
            server.remove()
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

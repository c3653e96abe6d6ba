"""Does a long study stay sound? Hundreds of quick trials (an empty model) beside a worker that is killed at random moments.

    python -m benchmarks.study.soak [--trials 500] [--seed 0] [--longest 5] [--out DIR]

This process runs the study; a second one joins it, is killed (SIGKILL) and started again until the study is done. Printed:
how the memory of the process that survives grows (mean of ten blocks after the first 100 trials, 95% interval), and
whether database, results and report agree. Exit code 1 when anything is lost, doubled, left open or wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from benchmarks.study.overhead import SPACE, train
from gazegaussian.config import MeshHeadRun, RunConfig, with_parameters
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TrainResult
from helpers import StudySpec, report, run
from helpers.analysis.paired_gain import paired_interval
from helpers.results.attributes import RESUME_OF
from helpers.results.trial_states import FINISHED, state_name, successors
from helpers.search.space import StudyFile
from helpers.study.isolation import Train
from helpers.utils.paths import ROOT

NAME = "soak"
EPOCHS = 8
WARM_UP = 100
BLOCKS = 10  # of trials, whose increments of memory are compared


@dataclass
class Memory:
    """Resident memory of this process after each of its trainings."""

    trials: list[int] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def train(self, config: RunConfig, folder: Path, hooks: Sequence[Hook], resume: bool) -> TrainResult:
        """Train the empty model and look."""
        self.trials.append(int(folder.name.removeprefix("trial_")))
        self.megabytes.append(psutil.Process().memory_info().rss / 1e6)
        return train(config, folder, hooks, resume)

    def growth(self) -> str:
        """Growth in MB per 100 trials of the study with its 95% interval, in words (see `growth`)."""
        points = [(n, mb) for n, mb in zip(self.trials, self.megabytes, strict=True) if n >= WARM_UP]
        if len(points) <= BLOCKS:
            return f"growth after trial {WARM_UP}: not measured, by {len(points)} trials here; it takes {BLOCKS + 1}"
        middle, low, high = growth([n for n, _ in points], [mb for _, mb in points])
        interval = f"(95% interval {low:.2f} to {high:.2f})"
        return f"growth after trial {WARM_UP}: {middle:.2f} MB per 100 trials {interval}"


def growth(trials: Sequence[int], megabytes: Sequence[float]) -> tuple[float, float, float]:
    """Estimate a growth per 100 trials from measurements that are not independent.

    Student's t over the increments of consecutive blocks: those of a random walk are independent, so its interval covers
    as often as it says; those of a memory that fluctuates about a line cancel out, so its interval is too wide, never too
    narrow.

    Args:
        trials: Numbers of the trials, in order; more than `BLOCKS`.
        megabytes: Memory after each.

    Returns:
        Growth in MB per 100 trials, lower and upper end of its 95% interval.
    """
    edges = [round(i * (len(trials) - 1) / BLOCKS) for i in range(BLOCKS + 1)]
    slopes = [
        100 * (megabytes[end] - megabytes[begin]) / (trials[end] - trials[begin]) for begin, end in pairwise(edges)
    ]
    _, low, high = paired_interval(slopes)
    return statistics.fmean(slopes), low, high


def announced(config: RunConfig, folder: Path, hooks: Sequence[Hook], resume: bool) -> TrainResult:
    """Train the empty model and say so: a kill that comes now cuts a trial."""
    print("at work", flush=True)
    return train(config, folder, hooks, resume)


def spec(out: Path, trials: int, train: Train) -> StudySpec:
    """The study that both processes run."""
    config = with_parameters(MeshHeadRun(), {"epochs": EPOCHS, "device": "cpu", "preview_images": 0})
    study = StudyFile.model_validate({"study_name": NAME, "trials": trials, "search_space": SPACE})
    return StudySpec(config, study, out, train=train, check=lambda _: None)


@contextmanager
def killed_again_and_again(out: Path, trials: int, seed: int, longest: float) -> Iterator[list[float]]:
    """Keep a second worker on the study while a `with` block lasts; gives the seconds that each killed one lived."""
    lives: list[float] = []
    over = threading.Event()
    moments = random.Random(seed)

    def kill() -> None:
        command = [sys.executable, "-m", "benchmarks.study.soak", "--join", "--out", str(out), "--trials", str(trials)]
        while not over.is_set():
            started = time.monotonic()
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None
                if moments.random() < 0.9:  # the others may die while they start
                    process.stdout.readline()  # the first trial begins
                over.wait(moments.uniform(0.0, longest))
                if process.poll() is None:
                    lives.append(time.monotonic() - started)
                process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield lives
    finally:
        over.set()
        thread.join()


def faults(study: optuna.Study, folder: Path, target: int) -> list[str]:
    """Whatever a sound study of `target` finished trials would not show."""
    problems = []
    with closing(sqlite3.connect(folder / "study.db")) as database:
        verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
    problems += [f"database: {verdict}"] if verdict != "ok" else []
    trials = study.get_trials()
    finished = [trial for trial in trials if trial.state in FINISHED]
    if not target <= len(finished) <= target + 1:  # the other worker may have been at its last trial
        problems.append(f"{len(finished)} finished trials of {target}")
    problems += [f"trial {t.number} is still {t.state.name}" for t in trials if t.state == TrialState.RUNNING]
    retried = Counter(trial.user_attrs[RESUME_OF] for trial in trials if RESUME_OF in trial.user_attrs)
    problems += [f"trial {number} was queued again {count} times" for number, count in retried.items() if count > 1]
    drawn = Counter(trial.params["lr"] for trial in finished)
    problems += [f"lr {lr} finished {count} times" for lr, count in drawn.items() if count > 1]
    problems += [f"trial {t.number} reported {sorted(t.intermediate_values)}" for t in finished if not whole(t)]
    return problems + wrong_results(study, folder, finished)


def whole(trial: FrozenTrial) -> bool:
    """Every epoch was reported once, to the end or to where the trial was pruned."""
    epochs = sorted(trial.intermediate_values)
    return epochs == list(range(len(epochs))) and (trial.state == TrialState.PRUNED or len(epochs) == EPOCHS)


def wrong_results(study: optuna.Study, folder: Path, finished: list[FrozenTrial]) -> list[str]:
    """Where tables and report differ from the database."""
    problems = []
    with (folder / "summary.csv").open(newline="") as stream:
        rows = {int(row["trial"]): row["state"] for row in csv.DictReader(stream)}
    continued = successors(study.trials)
    if rows != {trial.number: state_name(trial, continued) for trial in study.trials}:
        problems.append("summary.csv differs from the database")
    best = min((t for t in finished if t.state == TrialState.COMPLETE), key=lambda t: (t.value, t.number))
    stored = json.loads((folder / "best.json").read_text())
    if (stored["trial"], stored["value"]) != (best.number, best.value):
        problems.append(f"best.json names trial {stored['trial']}, the best is {best.number}")
    text = (folder / "report.md").read_text()
    counts = Counter(trial.state.name.lower() for trial in finished)
    for state, count in counts.items():
        if not re.search(rf"\b{count} {state}|{state}\W+{count}\b", text):
            problems.append(f"report.md does not tell of {count} {state} trials")
    return problems + ([] if f"trial {best.number}" in text.lower() else ["report.md does not name the best trial"])


def main() -> int:
    """Run, kill, look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=5.0, help="seconds of work before the latest kill")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--join", action="store_true", help="be the worker that is killed")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.disable(logging.INFO)
    out = arguments.out or Path(tempfile.mkdtemp(prefix="soak-"))
    memory = Memory()
    if arguments.join:
        run(spec(out, arguments.trials, announced), audit=False, figures=False)
        return 0
    asked = spec(out, arguments.trials, memory.train)
    started = time.monotonic()
    with killed_again_and_again(out, arguments.trials, arguments.seed, arguments.longest) as lives:
        study = run(asked, audit=False, figures=False)
    run(asked, audit=False, figures=False)  # closes what the last killed worker left, as the next start would
    seconds = time.monotonic() - started
    report(study, asked.folder)
    problems = faults(study, asked.folder, arguments.trials)
    states = Counter(t.state.name for t in study.trials)
    retries = sum(RESUME_OF in t.user_attrs for t in study.trials)
    print(f"{len(study.trials)} trials in {seconds:.0f} s, states {dict(states)}; {len(memory.trials)} of them here")
    print(f"workers killed {len(lives)}, trials cut and queued again {retries}")
    print(
        f"memory after trial {memory.trials[0]}: {memory.megabytes[0]:.0f} MB, in the end {memory.megabytes[-1]:.0f} MB"
    )
    print(memory.growth())
    print(
        "\n".join(["faults:", *problems]) if problems else "database, tables and report agree; nothing lost or doubled"
    )
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

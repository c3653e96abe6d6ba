"""Records learning curves of random configurations at quick sizes, trained to the end without pruning.

    nice python -m benchmarks.search_efficiency.record meshhead choose --part 1/2
    python -m benchmarks.search_efficiency.record gazegaussian report --meshhead CHECKPOINT --minutes 120

CHECKPOINT of the recorded files is `baseline_meshhead.pt` beside them: the `best.pt` of `train meshhead` at quick sizes
(seed 0, one thread, half a minute), committed since curves can only be added to those that start from the same file.

Every stage has two files: sampler and pruner are chosen by `choose`, figures are measured on `report`. Their configurations
are drawn with different seeds. Configuration 0 is the baseline. A training that is recorded is never repeated, so the
same command continues after a stop, a kill or a failure. Ctrl-C and SIGTERM stop after the current epoch; the
training that they interrupt is done again. Two processes share a file by `--part 1/2` and `--part 2/2`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import torch

from benchmarks.search_efficiency.curves import HALF_DECADES, SEEDS, Curve, Purpose, append, create, read
from benchmarks.search_efficiency.drawing import FIRST, draw, good_half_decades, half_decades, way
from benchmarks.search_efficiency.identity import as_trained, make_header, require_compatible
from benchmarks.search_efficiency.schedule import Key, Plan, duration, outstanding
from benchmarks.search_efficiency.whole_training import Stopped, train
from gazegaussian.build import preflight
from gazegaussian.config import GazeGaussianRun, RunConfig, load_run, with_parameters
from gazegaussian.errors import ConfigError, UserError
from helpers.search.space import StudyFile, check_space, load_study_file
from helpers.utils.paths import run_file, study_file_of

logger = logging.getLogger(__name__)

FOLDER = Path("benchmarks/search_efficiency")


class Stop:
    """Decides whether a recording goes on: until a signal arrives or its time is over.

    Args:
        minutes: Time that it has; None is without end.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.signalled = False

    def listen(self) -> None:
        """Stop at the next epoch after Ctrl-C or SIGTERM; a second one ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def __call__(self, needed: float = 0.0) -> bool:
        """Tell whether to stop.

        Args:
            needed: Seconds that the next piece of work takes.
        """
        late = self.deadline is not None and time.monotonic() + needed > self.deadline
        return self.signalled or late

    def _handle(self, number: int, frame: object) -> None:
        self.signalled = True
        signal.signal(number, signal.SIG_DFL)


class Recorder:
    """Adds curves to a file until all are there.

    Args:
        path: JSON lines, created or continued.
        config: The run configuration.
        study: What is searched.
        purpose: Of the file.
        plan: Which trainings.
        part: Of this process, from 0, and the number of processes.
        stop: Asked before every training and after every epoch.

    Raises:
        UserError: The configuration, data, checkpoint or file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        study: StudyFile,
        purpose: Purpose,
        plan: Plan,
        part: tuple[int, int] = (0, 1),
        stop: Stop | None = None,
    ) -> None:
        self.path = path
        self.config = as_trained(config, study)
        self.study = study
        self.plan = plan
        self.part = part
        self.stop = stop or Stop()
        self.seed = SEEDS[purpose]
        check_space(study, self.config)
        preflight(self.config)
        header = make_header(self.config, study, purpose)
        stored = create(path, header)
        require_compatible(stored, self.config, study, header, path)
        if stored.program != header.program:
            logger.warning("%s was started at program %s, this is %s", path, stored.program, header.program)

    def __iter__(self) -> Iterator[Curve]:
        """Train what is missing and yield the curves that were added."""
        longest = 0.0
        while not self.stop(longest):
            key = self._next()
            if key is None:
                return
            try:
                curve = self._train(key)
            except Stopped:
                return
            append(self.path, curve)
            longest = max(longest, curve.seconds)
            yield curve

    def _next(self) -> Key | None:
        recording = read(self.path)
        first = outstanding(self.plan.first_pass(), recording.keys, *self.part)
        if first is not None:
            return first
        return outstanding(self.plan.second_pass(recording), recording.keys, *self.part)

    def _train(self, key: Key) -> Curve:
        index, seed = key
        kind = way(index, self.study)
        good = self._good() if kind == "good" else ()
        params = draw(self.study, self.config, self.seed, index, good)
        logger.info("training configuration %d (%s) with seed %d: %s", index, kind, seed, params)
        try:
            own = with_parameters(self.config, {**params, "seed": seed}, f"configuration {index}")
            trained = train(own, self.stop)
        except ConfigError as error:  # a combination of values that cannot be trained
            if kind == "baseline":
                raise
            return Curve(index, seed, kind, params, "failed", {}, 0.0, 0.0, str(error))
        names = [name for name in dict.fromkeys(name for row in trained.rows for name in row) if name != "epoch"]
        return Curve(
            index=index,
            seed=seed,
            drawn=kind,
            params=params,
            status=trained.status,
            metrics={name: [row.get(name) for row in trained.rows] for name in names},
            warm_up_seconds=trained.warm_up_seconds,
            warm_up_cpu_seconds=trained.warm_up_cpu_seconds,
            reason=trained.reason,
        )

    def _good(self) -> tuple[tuple[float, float], ...]:
        """Read the good half-decades, or choose and store them: the first that are stored hold for all processes."""
        recording = read(self.path)
        if not recording.half_decades:
            first = [c for c in recording.curves if 0 < c.index <= FIRST and c.seed == self.plan.training_seed]
            good = good_half_decades(self.study, first) or half_decades(self.study)
            append(self.path, {HALF_DECADES: good, "curves": len(first)})
            recording = read(self.path)
            logger.info("good half-decades of the learning rate: %s", recording.half_decades)
        return recording.half_decades


def progress_line(recorder: Recorder, curve: Curve) -> str:
    """Say what was recorded last and how long the rest takes."""
    recording = read(recorder.path)
    plan = recorder.plan
    first = sum(one.seed == plan.training_seed for one in recording.curves)
    left = max(0, plan.trainings - len(recording.curves))
    mean = sum(one.seconds for one in recording.curves) / len(recording.curves)
    values = [value for value in curve.metrics.get(recorder.study.metrics[0], []) if value is not None]
    last = f"{recorder.study.metrics[0]} {values[-1]:.5g}" if values else curve.reason
    return (
        f"{recording.header.stage} {recording.header.purpose}: {first}/{plan.count} configurations, "
        f"{len(recording.curves) - first}/{plan.trainings - plan.count} repeats; configuration {curve.index} seed {curve.seed} "
        f"{curve.status}, {last}, {curve.seconds:.0f} s; {duration(left * mean / recorder.part[1])} left"
    )


def _part(text: str) -> tuple[int, int]:
    """Read `K/N` with K from 1."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no K/N with K from 1 to N, as in 1/2")
    return int(part) - 1, int(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["meshhead", "gazegaussian"])
    parser.add_argument("purpose", choices=list(SEEDS))
    parser.add_argument("--config", type=Path, help="default configs/runs/STAGE/quick.yaml")
    parser.add_argument("--study", type=Path, help="default configs/studies/STAGE/quick.yaml")
    parser.add_argument("--out", type=Path, help=f"default {FOLDER}/STAGE_PURPOSE.jsonl")
    parser.add_argument("--meshhead", type=Path, help="checkpoint that GazeGaussian starts from")
    parser.add_argument(
        "--count", type=int, default=151, help="configurations, the baseline among them; can grow later"
    )
    parser.add_argument("--best", type=int, default=30, help="best configurations that get three training seeds")
    parser.add_argument("--random", type=int, default=15, help="other configurations that get three training seeds")
    parser.add_argument("--part", type=_part, default=(0, 1), metavar="K/N", help="this process of N, K from 1")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--nice", type=int, default=10, help="priority is lowered by so much")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    """Record one process's share."""
    parser = _parser()
    given = parser.parse_args()
    os.nice(given.nice)
    torch.set_num_threads(given.threads)
    stage = given.stage
    stop = Stop(given.minutes)
    stop.listen()
    try:
        config = load_run(given.config or run_file(stage), stage)
        if given.meshhead is not None and isinstance(config, GazeGaussianRun):
            config = config.model_copy(update={"meshhead_checkpoint": given.meshhead})
        study = load_study_file(given.study or study_file_of(stage), stage)
        path = given.out or FOLDER / f"{stage}_{given.purpose}.jsonl"
        plan = Plan(given.count, given.best, given.random, config.training.seed)
        recorder = Recorder(path, config, study, given.purpose, plan, given.part, stop)
        for curve in recorder:
            logger.info("%s", progress_line(recorder, curve))
    except UserError as error:
        parser.exit(2, f"{error}\n")
    logger.info("%s; the same command continues.", "stopped" if stop() else "all curves are recorded or being recorded")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("gazegaussian").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()

"""Trains in a process of its own, so that what kills the training costs one trial.

The child trains and asks its listener through a pipe after every epoch; the parent alone talks to Optuna. Log records and
errors travel the same way, so that callers see no difference.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TrainResult
from gazegaussian.utils.interrupts import raise_if_interrupted
from helpers.study.report_hook import Metrics, PruningHook, TrialFailure, TrialReporter
from helpers.study.trial_files import remove_unfinished
from helpers.utils.processes import die_with_parent, portable

Train = Callable[[RunConfig, Path, Sequence[Hook], bool], TrainResult]

_LOOK = 0.5  # seconds between two looks at the clock
_GRACE = 5.0  # seconds for a child that has heard that it is over, before it is killed


def train_isolated(train: Train, config: RunConfig, folder: Path, resume: bool, reporter: TrialReporter) -> TrainResult:
    """Call a training function in a fresh process.

    Args:
        train: Can be imported: a function of a module, or a partial of one.
        config: Of the training.
        folder: Of the training.
        resume: Resume from its `last.pt`.
        reporter: Asked after every epoch; its time limit holds in the middle of an epoch too.

    Raises:
        TrialFailure: The process crashed, was killed, or took too long.
        ConfigError: `train` cannot be sent to another process.
        Exception: Whatever training or reporter raise, as without a process.
    """
    try:
        ForkingPickler.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Isolation needs a training function that another process can import, not {train!r}: define it in a module, "
            "or switch isolation off."
        ) from error
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    level = logging.getLogger().getEffectiveLevel()
    arguments = (there, train, config, folder, resume, torch.get_num_threads(), level)
    # Not a daemon: those may not start the processes of a data loader.
    process = context.Process(target=_child, args=arguments, name=folder.name)
    process.start()
    there.close()
    try:
        return _listen(here, process, reporter)
    except (KeyboardInterrupt, TrialFailure):
        process.kill()  # it may be in the middle of an epoch
        raise
    finally:
        here.close()  # a child that waits for an answer hears that it is over
        _end(process)
        remove_unfinished(folder)


def _listen(pipe: Connection, process: SpawnProcess, reporter: TrialReporter) -> TrainResult:
    """Answer a child until it has a result."""
    while True:
        raise_if_interrupted()
        left = reporter.seconds_left
        wait([pipe, process.sentinel], _LOOK if left is None else max(0.0, min(_LOOK, left)))
        if not pipe.poll() and process.exitcode is None:
            reporter.check_time()
            continue
        with _crashes_named(process):
            kind, content = pipe.recv()
        if kind == "log":
            logging.getLogger(content.name).handle(content)
        elif kind == "result":
            return content
        elif kind == "error":
            raise content
        else:
            answer = getattr(reporter, kind)(*content)
            with _crashes_named(process):
                pipe.send(answer)


@contextmanager
def _crashes_named(process: SpawnProcess) -> Iterator[None]:
    """Turn a broken pipe into the reason why its other end has gone."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError):
        process.join(_GRACE)
        raise TrialFailure(_cause(process.exitcode)) from None


def _cause(code: int | None) -> str:
    """Say why a process ended without a result."""
    if code is None:
        return "the training's process closed its pipe and went on without a result"
    if code == -signal.SIGKILL:
        return (
            "the training's process was killed (SIGKILL): most likely the system was out of memory - use batch_size 1 or "
            "a smaller model"
        )
    if code < 0:
        return f"the training's process crashed with signal {-code} ({signal.Signals(-code).name})"
    return f"the training's process ended with exit code {code} and without a result"


def _end(process: SpawnProcess) -> None:
    process.join(_GRACE)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


class _Line:
    """The child's end of the pipe; log records may come from several threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self._lock, _parent_needed():
            self._pipe.send((kind, content))

    def ask(self, kind: str, content: Any) -> Any:
        self.send(kind, content)
        with _parent_needed():
            return self._pipe.recv()


class _Dismissed(BaseException):
    """The parent has heard enough; no error of the training, which must not catch it."""


@contextmanager
def _parent_needed() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise _Dismissed from error


class _RemoteListener:
    """Asks the parent."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def start(self, history: list[Metrics], disk_bytes: int, hardware: dict[str, str]) -> None:
        self._line.ask("start", (history, disk_bytes, hardware))

    def epoch(self, epoch: int, metrics: Metrics) -> None:
        self._line.ask("epoch", (epoch, metrics))

    def measured(self, names: list[str]) -> None:
        self._line.ask("measured", (names,))

    def forecast(self, epochs: int) -> str:
        return str(self._line.ask("forecast", (epochs,)))


class _LineHandler(QueueHandler):
    """Hands log records to the parent, arguments and tracebacks made text; the line takes the place of a queue."""

    def enqueue(self, record: logging.LogRecord) -> None:
        line: Any = self.queue
        with suppress(_Dismissed):
            line.send("log", record)


def _child(
    pipe: Connection, train: Train, config: RunConfig, folder: Path, resume: bool, threads: int, level: int
) -> None:
    """Train and tell; runs in the new process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches both processes: the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # its own lock is a named semaphore, which a killed process leaks with a warning
    line = _Line(pipe)
    root = logging.getLogger()
    root.handlers = [_LineHandler(line)]  # type: ignore[arg-type]  # no queue, see there
    root.level = level
    try:
        line.send("result", train(config, folder, [PruningHook(_RemoteListener(line))], resume))
    except _Dismissed:
        pass
    except BaseException as error:
        line.send("error", portable(error))

"""Workers as processes of this machine: one per GPU, or one per CPU core where there is none.

On the CPU workers are forked from a process that has imported what a worker needs: five seconds of imports and their memory
are spent once. CUDA does not survive a fork, so that where it is found every worker begins from nothing.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import optuna
import psutil
import torch

from gazegaussian.config import RunConfig
from gazegaussian.training.step import resolve_device
from gazegaussian.utils.interrupts import interrupt_handler
from gazegaussian.utils.signs_of_life import sign, signs_of_life
from helpers.study.spec import StudySpec
from helpers.study.workers import fork_server
from helpers.study.workers.fork_server import environment, worker_context, worker_settings
from helpers.study.workers.plan import WorkerPlan, not_portable
from helpers.study.workers.worker import WorkerExit, work

logger = logging.getLogger(__name__)

EXIT_SECONDS = (
    30.0  # seconds for a worker that was asked to end: its trial is queued again and its checkpoints are whole
)


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


class LocalBackend:
    """Processes of this machine.

    Args:
        config: Says whether GPUs are used.
        plan: How many workers, and the CPU threads of each.

    Raises:
        DeviceError: The configured device is not there.
    """

    def __init__(self, config: RunConfig, plan: WorkerPlan) -> None:
        self.size = plan.workers
        self._gpus = visible_gpus(config.training.device)
        if self._gpus and self.size > len(self._gpus):
            logger.warning("%d workers share %d GPUs and their memory", self.size, len(self._gpus))
        self._threads = plan.threads or max(1, torch.get_num_threads() // self.size)
        self._method = _start_method()
        self._workers: dict[str, _Worker] = {}

    def start(self, spec: StudySpec, slot: int) -> None:
        """Start the worker that a spec names; `slot` decides its GPU."""
        assert spec.worker is not None
        settings = worker_settings(self._method, self._threads)
        if self._gpus:
            settings["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        context = worker_context(self._method)
        here, there = context.Pipe(duplex=False)
        levels = (logging.getLogger().getEffectiveLevel(), optuna.logging.get_verbosity())
        # Not a daemon: those may not start the processes of isolated trials.
        process = context.Process(target=_main, args=(there, spec, self._threads, levels), name=spec.worker)
        # Ctrl-C, which reaches all of a terminal, is the supervisor's affair: a new process inherits that it is ignored.
        with environment(settings), interrupt_handler(signal.SIG_IGN), _program_not_imported(spec):
            process.start()
        there.close()
        self._workers[spec.worker] = _Worker(process, here)

    def wait(self, seconds: float) -> list[WorkerExit]:
        """Wait for workers to end, and tell of those that have."""
        sign()  # the workers give their own
        wait([worker.pipe for worker in self._workers.values()], seconds)
        ended = []
        for name, worker in list(self._workers.items()):
            if worker.pipe.poll():
                del self._workers[name]
                ended.append(_exit_status(name, worker))
        return ended

    def memory(self) -> dict[str, int]:
        """Resident size of each worker by name, in bytes, the processes of isolated trials included."""
        sizes = {}
        for name, worker in self._workers.items():
            with suppress(psutil.Error):
                process = psutil.Process(worker.process.pid)
                family = [process, *process.children(recursive=True)]
                sizes[name] = sum(member.memory_info().rss for member in family)
        return sizes

    def dismiss(self, worker: str) -> None:
        """Ask a worker to end; its trial is queued again and resumes later."""
        self._workers[worker].process.terminate()

    def close(self) -> None:
        """End all workers: first they are asked, then they are killed; a second interrupt kills at once."""
        for worker in self._workers.values():
            worker.process.terminate()
        try:
            for worker in self._workers.values():
                worker.process.join(EXIT_SECONDS)
        finally:
            for worker in self._workers.values():
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()
            self._workers.clear()


def _start_method() -> str:
    """How processes are started here: CUDA does not survive a fork."""
    method = fork_server.START_METHOD
    return "spawn" if method == "forkserver" and torch.cuda.is_available() else method


def visible_gpus(device: str) -> list[str]:
    """GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; none where `device` means the CPU."""
    if resolve_device(device).type != "cuda":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _exit_status(name: str, worker: _Worker) -> WorkerExit:
    try:
        ended: WorkerExit = worker.pipe.recv()
    except EOFError:
        ended = WorkerExit(name, death="")
    worker.pipe.close()
    worker.process.join(EXIT_SECONDS)
    worker.process.kill()  # one that has said its last word and does not end
    worker.process.join()
    code = worker.process.exitcode
    if ended.death != "":
        return ended
    return WorkerExit(name, death=f"its process ended with exit code {code}", killed=code == -signal.SIGKILL)


@contextmanager
def _program_not_imported(spec: StudySpec) -> Iterator[None]:
    """Start a process that does not import the program of this one, where it needs nothing of it.

    Else a program without the guard `if __name__ == "__main__":` would run its study again in every worker.
    """
    program = sys.modules["__main__"]
    if not_portable(spec) is not None:
        yield
        return
    hidden = {name: getattr(program, name) for name in ("__file__", "__spec__") if hasattr(program, name)}
    for name in hidden:
        setattr(program, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(program, name, value)


def _main(pipe: Connection, spec: StudySpec, threads: int, levels: tuple[int, int]) -> None:
    """Work and tell how it ended; runs in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes of isolated trials
    threading.Thread(target=_end_with_parent, daemon=True).start()
    assert spec.worker is not None
    name = spec.worker.partition("-")[0]
    logging.basicConfig(
        level=levels[0], format=f"%(asctime)s {name} %(message)s", datefmt="%H:%M:%S", stream=sys.stderr, force=True
    )
    optuna.logging.set_verbosity(levels[1])
    with signs_of_life():
        pipe.send(work(spec))


def _end_with_parent() -> None:
    """End with the supervisor, which keeps the time and writes results; the trial is queued again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)

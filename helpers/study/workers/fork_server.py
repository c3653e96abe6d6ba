"""The process that workers are forked from on a CPU: it has imported what a worker needs.

Five seconds of imports and their memory are spent once, and beside what this process does before the first worker.
Nothing here imports torch: by then half of the time that is to be saved is over.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

from gazegaussian.config import RunConfig
from gazegaussian.utils.cores import available_cores
from gazegaussian.utils.interrupts import interrupt_handler
from helpers.study.spec import WorkerPool
from helpers.study.workers.threads import chosen_threads
from helpers.utils.machine import gpus
from helpers.utils.paths import ROOT

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
PRELOADED = "helpers.study.workers.preload"


def import_ahead(pool: WorkerPool, config: RunConfig) -> None:
    """Start the process, which then imports.

    Does nothing where a single worker, other machines or CUDA are known to do the work.
    """
    device = config.training.device
    if START_METHOD != "forkserver" or pool.ray is not None or pool.workers == 1 or available_cores() == 1:
        return
    if device == "cuda" or (device == "auto" and gpus()):
        return
    worker_context(START_METHOD)
    settings = worker_settings(START_METHOD, chosen_threads(config) or 1)
    with environment(settings), interrupt_handler(signal.SIG_IGN):
        forkserver.ensure_running()


def worker_context(method: str) -> Any:
    """The context that starts workers; a fork server of it imports what they need."""
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([PRELOADED])
    return context


def worker_settings(method: str, threads: int) -> dict[str, str]:
    """Environment variables of a new process, which it reads when it imports torch, before it hears of anything else."""
    settings = {"OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    if method == "forkserver":  # it imports before it hears where from: not from the working directory
        settings |= {"PYTHONPATH": _import_path(), "PYTHONSAFEPATH": "1"}
    return settings


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as a process is started."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _import_path() -> str:
    """`PYTHONPATH` by which the process finds this package."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

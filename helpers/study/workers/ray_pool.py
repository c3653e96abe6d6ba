"""Workers as actors of a Ray cluster, one per GPU or share of one.

Ray places them and tells when one has died; restarting is the supervisor's alone (`max_restarts=0`), so that a trial is queued
again once and not by two mechanisms.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna

from gazegaussian.errors import ConfigError, class_and_line, first_line
from gazegaussian.stages import searched_folders
from helpers.study.spec import StudySpec, WorkerPool
from helpers.study.workers.worker import WorkerExit, work
from helpers.utils.paths import ROOT

logger = logging.getLogger(__name__)

LOCAL = "local"
ANSWER_SECONDS = 10.0


def import_ray() -> ModuleType:
    """Import Ray.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray, which is not installed: pip install -r requirements-cluster.txt") from error
    return ray


def connect(address: str) -> ModuleType:
    """Join a cluster, or begin one on this machine, unless this process has joined one already.

    Args:
        address: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray
    _require_answer(address)
    path = os.pathsep.join([str(ROOT), *searched_folders(), *filter(None, [os.environ.get("PYTHONPATH")])])
    options: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    if address == LOCAL:  # listens on this machine alone, and its folder of sockets and logs is its owner's
        options |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False, "_temp_dir": _private_folder()}
    try:
        ray.init(**options, logging_level=logging.WARNING)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster at {address!r} ({first_line(error)}); start one, or give --ray local."
        ) from error
    if address == LOCAL:
        _close_token()
    return ray


def _private_folder() -> str:
    """Make the folder of a session; Ray's own, /tmp/ray, can be read by every user. It goes with this process."""
    short = "/tmp" if os.path.isdir("/tmp") else None  # names of sockets have room for a hundred characters
    folder = tempfile.mkdtemp(prefix="ray_", dir=short)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _close_token() -> None:
    """Let the owner alone read the token that Ray keeps for its clusters."""
    with suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


def _require_answer(address: str) -> None:
    """Knock at a cluster's address: Ray itself would try for minutes, and write about it.

    Raises:
        ConfigError: No cluster answers.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ConfigError(f"No Ray cluster at {address!r} ({error}); start one, or give --ray local.") from error


class RayBackend:
    """Actors of a Ray cluster.

    Args:
        spec: Whose study.
        pool: Where, how many, how large.

    Raises:
        ConfigError: No cluster, no room in it, or a storage that other machines cannot reach.
    """

    def __init__(self, spec: StudySpec, pool: WorkerPool) -> None:
        assert pool.ray is not None
        self._local = pool.ray == LOCAL
        self._ray = connect(pool.ray)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        if len(nodes) > 1 and (spec.storage is None or spec.storage.startswith("sqlite")):
            raise ConfigError(
                f"{len(nodes)} machines cannot share an SQLite file: give --storage postgresql+psycopg://USER@HOST/DATABASE "
                "(docs/cluster.md), or a .journal file on a shared folder."
            )
        self.options, self.size = placement(nodes, pool)
        self._actors: dict[str, Any] = {}
        self._calls: dict[Any, str] = {}

    def start(self, spec: StudySpec, slot: int) -> None:
        """Start the worker that a spec names, as soon as the cluster has a place for it."""
        assert spec.worker is not None
        # Made here: without Ray this module can be imported, too.
        actor = self._ray.remote(Worker).options(**self.options, max_restarts=0).remote()
        call = actor.work.remote(spec, Path.cwd(), levels_here())
        self._actors[spec.worker] = actor
        self._calls[call] = spec.worker

    def wait(self, seconds: float) -> list[WorkerExit]:
        """Wait for actors to end, and tell of those that have."""
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        ended = []
        for call in ready:
            name = self._calls.pop(call)
            actor = self._actors.pop(name)
            try:
                ended.append(self._ray.get(call))
            except self._ray.exceptions.RayError as error:
                ended.append(WorkerExit(name, death=f"its actor ended ({class_and_line(error)})"))
            self._ray.kill(actor)
        return ended

    def close(self) -> None:
        """Kill all actors; a cluster that was started for them ends too."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        if self._local:
            self._ray.shutdown()


class Worker:
    """Becomes an actor; Ray shows it the GPU that it may use and divides the threads."""

    def work(self, spec: StudySpec, folder: Path, levels: tuple[int, int]) -> WorkerExit:
        """Run trials (see `helpers.study.workers.worker.work`).

        Args:
            spec: With the worker's name.
            folder: Of the supervisor, that relative paths begin at, where it is there.
            levels: Of logging and of Optuna's.
        """
        prepare(folder, levels)
        return work(spec)


def prepare(folder: Path, levels: tuple[int, int]) -> None:
    """Make a process of Ray work where the supervisor does and log as it does (see `Worker.work`)."""
    if folder.is_dir():
        os.chdir(folder)
    line = "%(asctime)s %(message)s"
    logging.basicConfig(level=levels[0], format=line, datefmt="%H:%M:%S", stream=sys.stderr, force=True)
    optuna.logging.set_verbosity(levels[1])


def levels_here() -> tuple[int, int]:
    """Levels of logging and of Optuna's."""
    return logging.getLogger().getEffectiveLevel(), optuna.logging.get_verbosity()


def placement(nodes: list[dict[str, Any]], pool: WorkerPool) -> tuple[dict[str, float], int]:
    """Decide what an actor asks for, and how many there are.

    Args:
        nodes: As Ray describes them.
        pool: What is wanted.

    Raises:
        ConfigError: The cluster has no room for one.
    """
    cpus = [node["Resources"].get("CPU", 0.0) for node in nodes]
    gpus = [node["Resources"].get("GPU", 0.0) for node in nodes]
    share = float(any(gpus)) if pool.gpus_per_trial is None else pool.gpus_per_trial
    rooms = [int(have / share + 1e-9) if share else int(cores) for have, cores in zip(gpus, cpus, strict=True)]
    if sum(rooms) < 1:
        raise ConfigError(
            f"The Ray cluster has {sum(gpus):g} GPUs and {sum(cpus):g} CPUs, and a trial asks for {share:g} GPUs: give "
            "another --gpus-per-trial, or add machines."
        )
    size = pool.workers or sum(rooms)
    if size > sum(rooms):
        logger.warning("the cluster has room for %d of %d workers; the others start when it grows", sum(rooms), size)
    threads = min(max(1, int(cores / room)) for room, cores in zip(rooms, cpus, strict=True) if room)
    return {"num_gpus": share, "num_cpus": threads}, size

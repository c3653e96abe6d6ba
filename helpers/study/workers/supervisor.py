"""The supervisor of several workers: starts them, replaces dead ones, keeps the clock, writes the results.

Workers ask the shared storage for trials themselves and keep its limits; the supervisor does no trial. Whatever ends it, no worker
is left and running trials are queued again.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import optuna

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError, UserError, first_line
from gazegaussian.utils.interrupts import interruptible, raise_if_interrupted
from helpers.results.trial_states import count_finished
from helpers.storage.locks import study_lock
from helpers.study.heartbeat import requeue_lost
from helpers.study.loop import all_finished
from helpers.study.resume import save
from helpers.study.spec import StudySpec
from helpers.study.stop import BudgetWatch, StopKind, StopReason, stop, study_usage
from helpers.study.workers.local import LocalBackend
from helpers.study.workers.memory import MemoryWatch
from helpers.study.workers.plan import GB, WorkerPlan
from helpers.study.workers.ray_pool import RayBackend
from helpers.study.workers.worker import WorkerExit

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class WorkerBackend(Protocol):
    """Where workers run."""

    size: int

    def start(self, spec: StudySpec, slot: int) -> None:
        """Start the worker that a spec names."""

    def wait(self, seconds: float) -> list[WorkerExit]:
        """Wait for workers to end, and tell of those that have."""

    def close(self) -> None:
        """End all workers now, and wait until they are gone."""


def supervise(study: optuna.Study, spec: StudySpec, watch: BudgetWatch, plan: WorkerPlan | None = None) -> StopReason:
    """Have a study run by several workers.

    Args:
        study: Opened.
        spec: What is run, with its worker pool.
        watch: Of the supervisor; its clock counts.
        plan: How many workers this machine runs; None: Ray decides.

    Returns:
        Why no more trials are run.

    Raises:
        RuntimeError: Too many trials failed, or workers died, in a row.
        UserError: What a worker could not use.
        KeyboardInterrupt: The workers were ended, and their trials are queued again.
    """
    assert spec.pool is not None
    memory = None
    if plan is None:
        backend: WorkerBackend = RayBackend(spec, spec.pool)
    else:
        backend = local = LocalBackend(spec.config, plan)
        memory = MemoryWatch(study, local) if plan.automatic else None
    supervisor = _Supervisor(study, spec, watch, backend, memory)
    try:
        with interruptible():  # again: Ray has put its own handler there
            return supervisor.run()
    finally:
        backend.close()
        with suppress(UserError):  # a storage that is gone; the next run does it
            supervisor.requeue_lost()


def unchecked(config: RunConfig) -> None:
    """Check nothing: the supervisor has done so on the same machine."""


@dataclass
class _Supervisor:
    study: optuna.Study
    spec: StudySpec
    watch: BudgetWatch
    backend: WorkerBackend
    memory: MemoryWatch | None = None  # given: fewer workers continue where memory runs short

    def __post_init__(self) -> None:
        self.error: BaseException | None = None
        self.told: StopReason | None = None  # why the workers were asked to stop
        self.reasons: list[StopReason] = []
        self._dismissed: set[str] = set()
        self._run = uuid.uuid4().hex[:8]
        self._started = 0
        self._at_work: dict[str, int] = {}  # slot by name
        self._names: set[str] = set()
        self._deaths = 0
        self._progress = -1
        budget = self.spec.study.budget.model_copy(update={"timeout": None})  # the supervisor's clock counts
        self._template = replace(
            self.spec,
            out=self.spec.out.resolve(),
            study=self.spec.study.model_copy(update={"budget": budget}),
            timeout=None,
            check=self.spec.check if self.spec.pool and self.spec.pool.ray else unchecked,
            pool=None,
        )

    def run(self) -> StopReason:
        """Work until all workers have ended."""
        target = self.spec.study.trials
        saved = count_finished(self.study)
        logger.info(
            "starting %d workers; the first epoch takes a while: each opens the data and builds its model",
            self.backend.size,
        )
        for slot in range(self.backend.size):
            self._start(slot)
        while self._at_work:
            raise_if_interrupted()
            for ended in self.backend.wait(LOOK_SECONDS):
                self._hear(ended)
            self._call_off(self.watch.called_off())
            self._spare_memory()
            done = count_finished(self.study)
            if done != saved:
                saved = done
                save(self.study, self.spec)
                logger.info("%d of %d trials are finished; workers: %d", done, target, len(self._at_work))
        save(self.study, self.spec)
        if self.error is not None:
            raise self.error
        limit = next((reason for reason in self.reasons if reason.kind != StopKind.FINISHED), all_finished(target))
        # Workers see any request to stop as a user's; the supervisor knows which of them were its own.
        return limit if self.told is None or limit.kind == StopKind.FINISHED else replace(limit, kind=self.told.kind)

    def requeue_lost(self) -> None:
        """Queue the trials again that dead workers have left."""
        dead = self._names - self._at_work.keys()
        with study_lock(self.study, self.spec.folder):
            requeue_lost(self.study, self.spec.one_machine, dead, self._template.study.max_failures)

    def _start(self, slot: int) -> None:
        self._started += 1
        name = f"w{self._started}-{self._run}"
        self._names.add(name)
        self._at_work[name] = slot
        self.backend.start(replace(self._template, worker=name), slot)

    def _hear(self, ended: WorkerExit) -> None:
        slot = self._at_work.pop(ended.worker)
        if ended.error is not None:
            self.error = self.error or ended.error
            self._call_off(StopReason(StopKind.ERROR, first_line(ended.error)))
        elif ended.reason is not None:
            self.reasons.append(ended.reason)
        else:
            logger.warning("worker %s: %s", ended.worker, ended.death)
            self.requeue_lost()
            if ended.worker not in self._dismissed:
                self._count_death(ended)
            if self._at_work and self._is_for_memory(ended):
                logger.warning("the worker is not replaced, to save memory; workers: %d", len(self._at_work))
            elif self.told is None and count_finished(self.study) < self.spec.study.trials:
                self._start(slot)

    def _is_for_memory(self, ended: WorkerExit) -> bool:
        """Tell whether a worker that died has left its memory to the others: we or the system have ended it."""
        return self.memory is not None and (ended.killed or ended.worker in self._dismissed)

    def _spare_memory(self) -> None:
        """End a worker before the system has no memory left and kills a process of its own choice."""
        if self.memory is None or not self._dismissed.isdisjoint(self._at_work):  # one is about to end
            return
        self.memory.look()
        name = self.memory.worker_too_many()
        if name is not None:
            logger.warning(
                "low memory (%.2f GB free): stopping worker %s, its trial resumes later; workers: %d",
                self.memory.free / GB,
                name,
                len(self._at_work) - 1,
            )
            self._dismissed.add(name)
            self.memory.dismiss(name)

    def _count_death(self, ended: WorkerExit) -> None:
        progress = study_usage(self.study, self.spec.folder).epochs + count_finished(self.study)
        self._deaths = self._deaths + 1 if progress == self._progress else 1
        self._progress = progress
        if self._deaths >= self.spec.study.max_failures * self.backend.size:
            self.error = self.error or RuntimeError(
                f"{self._deaths} workers ended in a row and no epoch was trained, the last one: {ended.death}. "
                "The study stops here."
            )
            self._call_off(StopReason(StopKind.ERROR, str(self.error)))

    def _call_off(self, reason: StopReason | None) -> None:
        if reason is not None and self.told is None:
            self.told = reason
            with suppress(ConfigError):  # the folder cannot be written: the workers meet that themselves
                stop(self.spec.folder, reason.text)

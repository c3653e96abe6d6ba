"""Watches the memory of workers on this machine: what one needs is noted for the next run, and one too many is named."""

from __future__ import annotations

import optuna

from helpers.study.workers.local import LocalBackend
from helpers.study.workers.plan import WORKER_MEMORY
from helpers.utils import processes as resources

LEAST_MEMORY = 0.2e9  # bytes; below, the system would soon kill a process of its own choice
_NOTED_GROWTH = 1.05  # a larger peak is stored from this factor on


class MemoryWatch:
    """Looks at workers and at what is free beside them.

    Args:
        study: Remembers the largest worker.
        backend: The workers.
    """

    def __init__(self, study: optuna.Study, backend: LocalBackend) -> None:
        self._study = study
        self._backend = backend
        self._noted = float(study.user_attrs.get(WORKER_MEMORY, 0))
        self.free = float("inf")  # bytes, at the last look
        self.sizes: dict[str, int] = {}  # bytes by worker, at the last look

    def look(self) -> None:
        """Measure, and store a new peak.

        Raises:
            StorageError: The server of the storage does not answer.
        """
        self.free = resources.available_memory()
        self.sizes = self._backend.memory()
        peak = max(self.sizes.values(), default=0)
        if peak > _NOTED_GROWTH * self._noted:
            self._noted = peak
            self._study.set_user_attr(WORKER_MEMORY, peak)

    def worker_too_many(self) -> str | None:
        """Name the largest worker where memory runs out; None where there is enough, or only one."""
        if self.free >= LEAST_MEMORY or len(self.sizes) < 2:
            return None
        return max(self.sizes, key=lambda name: self.sizes[name])

    def dismiss(self, worker: str) -> None:
        """Ask a worker to end; its trial is queued again and resumes later."""
        self._backend.dismiss(worker)

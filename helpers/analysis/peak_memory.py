"""The largest memory that a piece of work takes."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil
import torch

INTERVAL = 0.05  # seconds between two looks


class PeakMemory:
    """Watches this process and the GPU while a `with` block lasts.

    Args:
        device: Where the work is done; a GPU beside a training on the CPU tells nothing.

    Attributes:
        process_bytes: Largest resident size seen. Loader processes are not counted.
        gpu_bytes: Largest amount that torch reserved on the device; None of work on the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.process_bytes = 0
        self.gpu_bytes: int | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        if self._device.type == "cuda":
            self.gpu_bytes = torch.cuda.max_memory_reserved(self._device)

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self.process_bytes = max(self.process_bytes, psutil.Process().memory_info().rss)

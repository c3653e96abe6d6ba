"""What a program asked of the stand-in device: host waits with their lines, calls, launches, bytes."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import Counter
from pathlib import Path
from types import FrameType

import torch

ROOT = Path(__file__).resolve().parents[3]
_OURS = tuple(f"{ROOT}/{part}/" for part in ("gazegaussian", "helpers", "benchmarks"))
_MACHINERY = (str(Path(__file__).parent), str(Path(torch.__file__).parent), "/contextlib.py")


def place() -> str:
    """File and line of the innermost frames of this project, at most two; else of whatever called torch."""
    lines: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(lines) < 2:
        name = frame.f_code.co_filename
        if name.startswith(_OURS):
            lines.append(f"{name.removeprefix(f'{ROOT}/')}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " <- ".join(lines) or "backward, or outside of the project"


class Memory:
    """Bytes that live on the device."""

    def __init__(self) -> None:
        self.total = 16 << 30
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def hold(self, tensor: torch.Tensor) -> None:
        """Count a storage until it is freed.

        Raises:
            torch.OutOfMemoryError: It does not fit.
        """
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = storage.nbytes()
        if key in self._sizes or size == 0:
            return
        if self.live + size > self.total:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes; {self.total - self.live} of {self.total} are free."
            )
        self._sizes[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)


class Record:
    """Counts of one process; `reset` starts anew."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.warn = False  # as torch.cuda.set_sync_debug_mode("warn") does
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self.waits: Counter[tuple[str, str]] = Counter()
        self.copies: Counter[str] = Counter()  # that nobody waits for
        self.calls = 0  # ATen calls that are no views
        self.launches: Counter[str] = Counter()

    def wait(self, kind: str, times: int = 1) -> None:
        """Count times that the host waits for the device."""
        self.waits[kind, place()] += times
        if self.warn:
            for _ in range(times):
                _warn()

    def lines(self) -> list[str]:
        """Every kind of wait with its line, the most frequent first."""
        return [f"{times} {kind} at {where}" for (kind, where), times in self.waits.most_common()]


def _warn() -> None:
    """Warn at the line that called torch, as torch does; every time."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_MACHINERY):
        frame = frame.f_back
    where = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("torch", 0)
    warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, *where, registry={})


RECORD = Record()

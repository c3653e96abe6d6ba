"""Signals and the life of child processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's request to end) like Ctrl-C while a `with` block lasts; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def portable(error: BaseException) -> BaseException:
    """Make an error that survives the way to another process, with its traceback as a note."""
    error.add_note("in the training's process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign class does when it is pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error

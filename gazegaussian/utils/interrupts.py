"""Ctrl-C and SIGTERM that cannot get lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor, a callback from C or an `atexit` function
the exception is printed and dropped, and C++ code may turn it into another one. So the handler also sets a flag, which long
loops look at (`raise_if_interrupted`), as does the end of the `with` block.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = "Interrupted. Run the same command again to resume."
INTERRUPTED_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    asked = False  # a signal came and no one has answered it
    depth = 0  # of `with` blocks
    held = 0  # of `uninterrupted` blocks


def _interrupt(number: int, frame: FrameType | None) -> None:
    first, _State.asked = not _State.asked, True
    if first and _State.held:
        return  # raised where the block ends
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's request to end) like Ctrl-C while a `with` block lasts; in the main thread only.

    Ctrl-C that other code handles, or ignores, stays as it is.

    Raises:
        KeyboardInterrupt: A signal came; at the latest when the block ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = (signal.default_int_handler, _interrupt)
    before = {n: signal.getsignal(n) for n in _SIGNALS if n == signal.SIGTERM or signal.getsignal(n) in ours}
    if _State.depth == 0:
        _State.asked = False
    _State.depth += 1
    try:
        for number in before:
            signal.signal(number, _interrupt)
        try:
            yield
        except Exception as error:
            if _State.asked:  # a KeyboardInterrupt that became another error on its way
                raise KeyboardInterrupt from error
            raise
        raise_if_interrupted()
    finally:
        _State.depth -= 1
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if _State.depth == 0:
            _State.asked = False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish a `with` block before the first signal of an `interruptible` one is raised; a second signal is raised at once.

    For a few lines that must not be left half done, such as a transaction: its connection would stay locked for as long as a
    traceback holds it.

    Raises:
        KeyboardInterrupt: A signal came while the block lasted, and it ended without an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _State.asked
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
    if not before:
        raise_if_interrupted()


@contextmanager
def interrupt_handler(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Handle Ctrl-C otherwise while a `with` block lasts; in the main thread only.

    Args:
        handler: As `signal.signal` takes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def watch_process() -> None:
    """Do the same for a whole program, its imports and its last moments included: call it before anything else.

    A program that was asked to end says so and exits with 130, the shell's code for Ctrl-C, whatever became of the exception.
    """
    for number in _SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) == signal.default_int_handler:
            signal.signal(number, _interrupt)
    _State.depth = 1
    sys.excepthook = _excepthook
    atexit.register(_leave)  # the first that is registered is the last that runs


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not _State.asked:
        sys.__excepthook__(kind, error, trace)


def _leave() -> None:
    if not _State.asked:
        return
    with suppress(OSError, ValueError):  # closed, or no one reads them
        sys.stdout.flush()
        sys.stderr.write(f"{INTERRUPTED}\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED_CODE)


def interrupted() -> bool:
    """Tell whether a signal has asked this process to end, also where its KeyboardInterrupt was lost or became another error."""
    return _State.asked


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt of a signal again where the first one was lost.

    Raises:
        KeyboardInterrupt: A signal came since the outermost `interruptible` block began.
    """
    if _State.asked and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def answered() -> None:
    """Forget a signal that has been dealt with: the process continues, or ends as it should."""
    _State.asked = False

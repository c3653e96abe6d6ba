"""A line when a program has been silent for a while: long work must not look like a program that hangs."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

SILENCE_SECONDS = 8.0
_LONGEST = 120  # characters of the work's name

logger = logging.getLogger(__name__)


class _State:
    last = 0.0  # time of the last sign, by the monotonic clock
    resting = 0  # blocks that wait for people


def sign() -> None:
    """Note that a user has just seen something move, such as a progress bar."""
    _State.last = time.monotonic()


@contextmanager
def resting() -> Iterator[None]:
    """Stay silent while a `with` block lasts: nothing is at work, the program waits for its user."""
    _State.resting += 1
    try:
        yield
    finally:
        _State.resting -= 1
        sign()


class _LastLine(logging.Handler):
    """Remembers the last line of the log, which names the work that is being done."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.since = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        sign()
        if record.name != __name__:
            self.text = record.getMessage().partition("\n")[0]
            self.since = time.monotonic()


@contextmanager
def signs_of_life(silence: float | None = None) -> Iterator[None]:
    """Log a line whenever nothing was shown for some seconds, with the work's name: the last line of the log.

    Args:
        silence: Seconds; default `SILENCE_SECONDS`.
    """
    seconds = SILENCE_SECONDS if silence is None else silence
    handler = _LastLine()
    logging.getLogger().addHandler(handler)
    over = threading.Event()
    sign()
    thread = threading.Thread(target=_watch, args=(handler, seconds, over), name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        logging.getLogger().removeHandler(handler)


def _watch(handler: _LastLine, seconds: float, over: threading.Event) -> None:
    while not over.wait(max(0.05, _State.last + seconds - time.monotonic())):
        if _State.resting or time.monotonic() - _State.last < seconds:
            if _State.resting:
                sign()
            continue
        with _between_bars():
            logger.info("still at work (%.0f s): %s", time.monotonic() - handler.since, _shortened(handler.text))


def _between_bars() -> AbstractContextManager[None]:
    """Take progress bars off the terminal while a line is written; without any, tqdm is not even imported."""
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    return nullcontext() if bars is None else cast("AbstractContextManager[None]", bars.external_write_mode())


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

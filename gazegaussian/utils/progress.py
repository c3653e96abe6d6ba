"""Progress of long work: a bar on a terminal; a plain log line now and then where there is none."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

from gazegaussian.utils.durations import duration
from gazegaussian.utils.interrupts import raise_if_interrupted
from gazegaussian.utils.signs_of_life import SILENCE_SECONDS, sign

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = SILENCE_SECONDS
T = TypeVar("T")


def progress(
    items: Iterable[T], what: str, total: int | None = None, done: int = 0, show: bool = True, leave: bool = True
) -> Iterator[T]:
    """Pass items on and show how far the work on them is.

    Args:
        items: What is worked on, or a stream of results.
        what: Name of the work.
        total: How many items there are with those done before; by default as many as `items`.
        done: Items that were done before.
        show: False shows nothing.
        leave: Whether the full bar stays on the terminal.

    Yields:
        The items.

    Raises:
        KeyboardInterrupt: A signal has asked the program to end, and its own exception got lost.
    """
    # None: tqdm draws on terminals alone. In a file or a pipe, every redraw of a bar would be a line of its own.
    hidden = not show or os.environ.get("TQDM_DISABLE") == "1"  # workers that share a terminal would break its lines
    bar = tqdm(items, what, total, initial=done, leave=leave, disable=hidden or None)
    if not bar.disable or not show:
        for item in bar:
            raise_if_interrupted()
            if show:
                sign()
            yield item
        return
    started = said = time.monotonic()
    total = total if total is not None else bar.total
    for count, item in enumerate(items, done + 1):
        raise_if_interrupted()
        yield item
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            logger.info("%s: %d of %s%s", what, count, total or "?", _left(now - started, count - done, count, total))


def _left(seconds: float, items: int, count: int, total: int | None) -> str:
    """Say how long the rest will take at the pace so far; nothing where the total is not known."""
    return f", about {duration(seconds / items * (total - count))} left" if total and total > count else ""

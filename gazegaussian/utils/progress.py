"""Progress of long work: a bar on a terminal; a plain log line now and then where there is none."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

from gazegaussian.utils.durations import time_left
from gazegaussian.utils.interrupts import raise_if_interrupted
from gazegaussian.utils.signs_of_life import SILENCE_SECONDS, sign

logger = logging.getLogger(__name__)

# Before the program is taken for silent, so that work which tells how far it is needs no other sign.
SECONDS_BETWEEN_LINES = SILENCE_SECONDS - 2
SECONDS_OF_PACE = 2.0  # that a forecast is made from, at least
SOON = 3.0  # seconds: what ends so soon needs no line
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
    said = time.monotonic()
    began: float | None = None  # when the first item was done: it may have waited for processes or kernels
    total = total if total is not None else bar.total
    for count, item in enumerate(items, done + 1):
        raise_if_interrupted()
        yield item
        now = time.monotonic()
        if began is None:
            began = now
        if now - said < SECONDS_BETWEEN_LINES:
            continue
        left = _seconds_left(now - began, count - done - 1, count, total)
        if left is None or left > SOON:
            said = now
            forecast = "" if left is None else f", about {time_left(left)} left"
            logger.info("%s: %d of %s%s", what, count, total or "?", forecast)


def _seconds_left(seconds: float, items: int, count: int, total: int | None) -> float | None:
    """Forecast the rest at the pace so far; None where the total is not known, or the pace not yet.

    Args:
        seconds: Since the first item was done.
        items: Done in these seconds.
        count: Done in all.
        total: To be done in all.
    """
    if not total or not items or seconds < SECONDS_OF_PACE:
        return None
    return seconds / items * max(0, total - count)

"""Progress of long work: a bar on a terminal; a plain log line now and then where there is none."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0
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
    """
    # None: tqdm draws on terminals alone. In a file or a pipe, every redraw of a bar would be a line of its own.
    hidden = not show or os.environ.get("TQDM_DISABLE") == "1"  # workers that share a terminal would break its lines
    bar = tqdm(items, what, total, initial=done, leave=leave, disable=hidden or None)
    if not bar.disable or not show:
        yield from bar
        return
    said = time.monotonic()
    total = total if total is not None else bar.total
    for count, item in enumerate(items, done + 1):
        yield item
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            logger.info("%s: %d of %s", what, count, "?" if total is None else total)

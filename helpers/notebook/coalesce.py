"""Requests that come faster than they can be served: the last one wins, none is queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Coalesced:
    """Calls a function once for all requests of a short while.

    Args:
        act: What to do; it reads what is wanted when it is called, so that the last request wins.
        delay: Seconds to wait for further requests; 0 acts within the request. Without an event loop there is nothing
            to wait in, so it then acts at once, too.
    """

    def __init__(self, act: Callable[[], None], delay: float) -> None:
        self._act = act
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Request; those of the next `delay` seconds join it."""
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or not self._delay:
            self._act()
        else:
            self._timer = loop.call_later(self._delay, self._go)

    def _go(self) -> None:
        self._timer = None
        self._act()

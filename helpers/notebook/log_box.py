"""Lines of a process in a cell: a box that scrolls and stays at its end, so that a long log moves nothing below or above it."""

from __future__ import annotations

import html
import uuid
from collections import deque
from collections.abc import Iterable

from IPython.display import display, update_display

MOST_LINES = 300  # that a cell keeps: all of them are sent again with every new one
HEIGHT = "15em"
# In a column that is laid out from below, a browser shows the end until a reader scrolls.
_BOX = f"max-height: {HEIGHT}; overflow-y: auto; display: flex; flex-direction: column-reverse; border: 1px solid #bbb"
_TEXT = "margin: 0; padding: 4px; flex-shrink: 0; overflow: visible; white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"


class LogBox:
    """Shows the last lines of a process in one output of a cell."""

    def __init__(self) -> None:
        self._lines = deque[str](maxlen=MOST_LINES)
        self._count = 0
        self._display_id = f"log-{uuid.uuid4().hex}"

    def begin(self) -> None:
        """Begin the output of the cell that lines will be shown in."""
        display({"text/plain": "The log follows."}, raw=True, display_id=self._display_id)

    def add(self, lines: Iterable[str]) -> None:
        """Show more lines."""
        before = self._count
        for line in lines:
            self._lines.append(line.rstrip("\n"))
            self._count += 1
        if self._count > before:
            update_display(self._forms(), raw=True, display_id=self._display_id)

    def _forms(self) -> dict[str, str]:
        missing = self._count - len(self._lines)
        note = [f"({missing} earlier lines are left out)"] if missing else []
        text = "\n".join([*note, *self._lines])
        page = f'<div style="{_BOX}" tabindex="0"><pre style="{_TEXT}">{html.escape(text)}</pre></div>'
        return {"text/html": page, "text/plain": text}

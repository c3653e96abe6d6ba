"""The command-line script in a process of its own, whose lines are read without waiting."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gazegaussian.errors import class_and_line
from gazegaussian.utils.hidden_options import hide_option
from helpers.utils.paths import SCRIPT, STORAGE_VARIABLE
from helpers.utils.tables import CELL_VARIABLE, is_table


class ScriptError(RuntimeError):
    """The script ended as it should not; its last line says why."""

    def _render_traceback_(self) -> list[str]:
        """What a cell shows, by IPython's protocol: the script's lines above say more than the notebook's frames."""
        return [class_and_line(self)]


class ScriptInterrupted(KeyboardInterrupt):
    """The cell was interrupted, and with it the script."""

    def _render_traceback_(self) -> list[str]:
        return ["Interrupted. Run this cell again to resume."]


def start(args: Sequence[str], program: Path = SCRIPT) -> subprocess.Popen[str]:
    """Start the script for a cell, which reads its lines and shows them by `show_line`.

    It is not in the notebook's process group: an interrupted cell decides itself what the script hears.

    Args:
        args: Of its command line.
        program: Another script instead.
    """
    args, hidden = hide_option(args, "--storage", STORAGE_VARIABLE)
    return subprocess.Popen(
        [sys.executable, str(program), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", CELL_VARIABLE: "1", **hidden},
        start_new_session=True,
    )


def last_message(before: str, line: str) -> str:
    """What a script said last, after one more line of it; an empty one and a table say nothing."""
    return before if is_table(line) else line.strip() or before


class Script:
    """A running `train_gazegaussian_optuna.py`.

    Args:
        args: Of its command line.
        program: Another script instead.
    """

    def __init__(self, args: Sequence[str], program: Path = SCRIPT) -> None:
        self._process = start(args, program)
        self.last_line = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines(self) -> list[str]:
        """Lines that came since the last call."""
        return [self._lines.get() for _ in range(self._lines.qsize())]

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs or lines are still to be read."""
        return None if self._reader.is_alive() else self._process.wait()

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Leave nothing running behind."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
            self.last_line = last_message(self.last_line, line)

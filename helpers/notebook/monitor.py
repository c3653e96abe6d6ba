"""Runs a study in a process of its own and shows in the cell how far it is, with a button that stops it.

The cell polls and awaits: widgets that a thread updates are not drawn in Colab, and clicks reach a cell that awaits.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from gazegaussian.errors import UserError
from gazegaussian.utils.interrupts import interrupt_handler
from helpers.notebook.cli_process import Script, ScriptError
from helpers.notebook.drive import revive_drive
from helpers.notebook.monitor_views import PlainView, View, WidgetView
from helpers.study.progress import StudyProgress, StudyReader
from helpers.study.stop import stop
from helpers.utils.runtime import clicks_reach_running_cell, has_front_end, kernel_passes_clicks

POLL_SECONDS = 0.2
LOOK_SECONDS = 2.0
_INTERRUPTED = (0, 130, -signal.SIGINT)  # exit codes of a script that was asked to stop


class Monitor:
    """Stands between a study's process and a view.

    Args:
        folder: Of the study.
        script: Its process.
        view: Where to show it.
    """

    def __init__(self, folder: Path, script: Script, view: View) -> None:
        self.folder = folder
        self.script = script
        self.view = view
        self.stopping = False
        self._has_begun = False  # a trial was seen running
        self._cut_short = False
        self._reader: StudyReader | None = None
        self._last_look = -LOOK_SECONDS

    def stop(self) -> None:
        """Have the study stop after the running epoch."""
        if not self.stopping:
            self.stopping = True
            when = (
                "after the running epoch. Interrupt the cell to stop at once."
                if self._has_begun
                else "before the first epoch."
            )
            self.view.say(f"Stopping {when}")

    def interrupted(self) -> None:
        """Handle an interrupt: the first one stops like the button, the next one at once."""
        if self.stopping:
            self.script.interrupt()
        else:
            self.stop()

    def step(self) -> int | None:
        """Pass lines on and look now and then; returns the exit code once it is over."""
        code = self.script.code
        self.view.log(self.script.lines())
        if code is None and time.monotonic() - self._last_look < LOOK_SECONDS:
            return None
        self._last_look = time.monotonic()
        revive_drive(self.folder)  # its process waits for that a while
        progress = self._look()
        if progress is not None:
            self._has_begun |= bool(progress.running)
            self.view.show(progress)
        if self.stopping and code is None:
            self._ask_to_stop()
        return code

    def _ask_to_stop(self) -> None:
        """Ask the study to end after its epoch; what still loads or audits has no epoch to end and is interrupted."""
        if self._has_begun:
            with suppress(UserError):
                stop(self.folder)
        elif not self._cut_short:
            self._cut_short = True
            self.script.interrupt()

    def finish(self, code: int) -> None:
        """Say how it ended.

        Raises:
            ScriptError: Not as it should; its last line says why.
        """
        progress = self._look()
        if self.stopping and code in _INTERRUPTED:
            self.view.end(progress, "Stopped. Run this cell again to resume.")
        elif code:
            self.view.end(progress, "Failed.")
            raise ScriptError(f"The study ended with exit code {code}: {self.script.last_line}")
        else:
            self.view.end(progress, f"Ended: {progress.stop_reason if progress else 'done'}.")

    def _look(self) -> StudyProgress | None:
        try:
            self._reader = self._reader or StudyReader(self.folder)
            return self._reader.read()
        except UserError:  # not created yet, or just being written
            return None


async def run_and_watch(folder: Path, args: Sequence[str], view: View | None = None) -> None:
    """Run a study and show its progress in the cell until it ends, is stopped or is interrupted.

    Args:
        folder: Of the study.
        args: Of the script's command line.
        view: Where to show it; by default widgets where a user may be watching, else plain lines.

    Raises:
        ScriptError: The study failed; its last line says why.
    """
    script = Script(args)
    chosen = view or (WidgetView(clicks_reach_running_cell()) if has_front_end() else PlainView())
    monitor = Monitor(folder, script, chosen)
    monitor.view.begin(monitor.stop)
    try:
        # What an interrupt raises in a cell that awaits depends on the kernel.
        with interrupt_handler(lambda *_: monitor.interrupted()):
            async with _clicks() as let_clicks_in:
                while (code := monitor.step()) is None:
                    await let_clicks_in()
                    await asyncio.sleep(POLL_SECONDS)
        monitor.finish(code)
    finally:
        script.close()


@asynccontextmanager
async def _clicks() -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Give a function that handles waiting clicks, where the kernel does not handle them by itself."""
    if kernel_passes_clicks() or find_spec("jupyter_ui_poll") is None:
        yield lambda: asyncio.sleep(0)
        return
    async with importlib.import_module("jupyter_ui_poll").ui_events() as poll:
        yield lambda: poll(5)

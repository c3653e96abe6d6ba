"""What a running study looks like in a cell: widgets where a user may be watching, plain lines everywhere."""

from __future__ import annotations

import html
import sys
import time
import uuid
from collections.abc import Callable
from typing import Protocol

import ipywidgets as widgets
import psutil
from IPython.display import display, update_display

from helpers.notebook.figure_display import bundle, interactive, prepare_figures, show_figure
from helpers.notebook.live_curves import live_curves
from helpers.notebook.log_box import LogBox
from helpers.reporting.palette import PALETTE
from helpers.study.progress import StudyProgress, TrialProgress
from helpers.utils.formatting import time_left
from helpers.utils.machine import GB, gpus
from helpers.utils.runtime import runtime_name
from helpers.utils.tables import is_table, show_line

MOST_OF_AN_EPOCH = 0.95  # that the bar shows before the epoch has ended


class View(Protocol):
    """Where a monitor shows a study."""

    def begin(self, stop: Callable[[], None]) -> None:
        """Get ready; `stop` is what a button calls."""

    def log(self, lines: list[str]) -> None:
        """Pass on lines of the study's process."""

    def say(self, line: str) -> None:
        """Tell something."""

    def show(self, progress: StudyProgress) -> None:
        """Show how far the study is."""

    def end(self, progress: StudyProgress | None, line: str) -> None:
        """Show the last state and how it ended."""


def sentences(progress: StudyProgress) -> dict[str, str]:
    """How far a study is, in words: trials, running, time left, best so far."""
    states = ", ".join(f"{count} {state}" for state, count in progress.states.items()) or "none started"
    wanted = "?" if progress.wanted is None else progress.wanted
    running = [f"trial {trial.number}: epoch {min(trial.epochs + 1, progress.epochs_per_trial or trial.epochs + 1)} of "
               f"{progress.epochs_per_trial}" for trial in progress.running]  # fmt: skip
    left = "known after the first epoch"
    if progress.seconds_left is not None:
        left = f"about {time_left(progress.seconds_left)}"
    best = "none yet"
    if progress.best is not None:
        best = f"{progress.metric} {progress.best[1]:.5g} (trial {progress.best[0]})"
    return {
        "trials": f"{progress.finished} of {wanted} finished ({states})",
        "running": "; ".join(running) or "nothing",
        "time left": left if progress.running else "-",
        "best so far": best,
    }


def memory_sentence() -> str:
    """Memory in use: of the GPUs, or of the machine where there is none."""
    devices = gpus()
    if devices:
        return "; ".join(f"{gpu.used:.1f} of {gpu.total:.1f} GB ({gpu.name})" for gpu in devices)
    memory = psutil.virtual_memory()
    return f"{(memory.total - memory.available) / GB:.1f} of {memory.total / GB:.1f} GB (no GPU)"


class Pace:
    """How far running trials are within their epoch, by the time since it began and the measured seconds of one."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def epochs(self, progress: StudyProgress) -> float:
        """Epochs of all running trials, the part of the present ones included; it never claims that one has ended."""
        now = time.monotonic()
        total = 0.0
        for trial in progress.running:
            known, since = self._seen.get(trial.number, (-1, now))
            if known != trial.epochs:
                since = now
                self._seen[trial.number] = (trial.epochs, now)
            part = (now - since) / progress.epoch_seconds if progress.epoch_seconds else 0.0
            total += trial.epochs + min(part, MOST_OF_AN_EPOCH)
        return total


class PlainView:
    """Lines: those of the process, and one after each epoch with trials, remaining time and best value."""

    def __init__(self) -> None:
        self._shown: object = None

    def begin(self, stop: Callable[[], None]) -> None:
        """Do nothing: there is no button."""

    def log(self, lines: list[str]) -> None:
        """Print lines; the table of the trials has a cell of its own."""
        for line in lines:
            if not is_table(line):
                show_line(line)

    def say(self, line: str) -> None:
        """Print a line."""
        sys.stdout.write(f"{line}\n")

    def show(self, progress: StudyProgress) -> None:
        """Print a line when an epoch or a trial has ended."""
        if progress.wanted is not None and progress.finished >= progress.wanted:  # the report is being written
            prepare_figures()
        state = (progress.states, [trial.epochs for trial in progress.trials])
        if progress.running and state != self._shown:
            self._shown = state
            self.log(
                ["progress - " + " | ".join(f"{name}: {text}" for name, text in sentences(progress).items()) + "\n"]
            )

    def end(self, progress: StudyProgress | None, line: str) -> None:
        """Draw the curves once."""
        self.say(line)
        figure = None if progress is None else live_curves(progress)
        if figure is not None:
            show_figure(figure)


class WidgetView(PlainView):
    """Bars, facts, curves, a Stop button and below them the lines, in a box that scrolls; all updated in place.

    Args:
        clickable: Whether the kernel lets clicks in while the cell runs; without, a sentence takes the button's place.
    """

    def __init__(self, clickable: bool = True) -> None:
        super().__init__()
        bar = widgets.Layout(width="420px", max_width="98%")
        named = {"description_width": "110px"}
        colors = {**named, "bar_color": PALETTE[0]}
        self.trials = widgets.IntProgress(description="Trials", style=colors, layout=bar)
        self.epochs = widgets.FloatProgress(description="Epochs now", style=colors, layout=bar)
        self.facts = widgets.HTML(value="The study begins ...")
        self.button = widgets.Button(
            description="Stop", icon="stop", tooltip="Stop after the running epoch; run this cell again to resume"
        )
        hint = widgets.HTML("To stop, interrupt the cell; run it again to resume.")
        self.box = widgets.VBox(
            [self.trials, self.epochs, self.facts, self.button if clickable else hint],
            layout=widgets.Layout(overflow="visible"),  # else margins of the children make it scroll
        )
        self._log = LogBox()
        self._figure = f"curves-{uuid.uuid4().hex}"
        self._drawn = tuple[TrialProgress, ...]()
        self._pace = Pace()

    def begin(self, stop: Callable[[], None]) -> None:
        """Display everything once."""
        self.button.on_click(lambda _: stop())
        display(self.box)
        display({"text/plain": "Learning curves follow the first epoch."}, raw=True, display_id=self._figure)
        self._log.begin()

    def log(self, lines: list[str]) -> None:
        """Add lines to the box; the table of the trials has a cell of its own."""
        self._log.add(line for line in lines if not is_table(line))

    def say(self, line: str) -> None:
        """Print a line, and show on the button that the click was received."""
        super().say(line)
        if line.startswith("Stopping"):
            self.button.description = "Stopping ..."
            self.button.disabled = True

    def show(self, progress: StudyProgress) -> None:
        """Update bars, facts and, after an epoch, the curves."""
        length = progress.epochs_per_trial or 1
        self.trials.max = max(progress.wanted or 1, 1)
        self.trials.value = progress.finished
        self.epochs.max = length * max(1, len(progress.running))
        self.epochs.value = self._pace.epochs(progress)
        facts = {**sentences(progress), "memory in use": memory_sentence()}
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
        self.facts.value = f'<table style="text-align:left">{rows}</table>'
        if progress.trials != self._drawn:
            self._draw(progress)
        super().show(progress)

    def end(self, progress: StudyProgress | None, line: str) -> None:
        """Show the last state; the button has nothing left to stop."""
        if progress is not None:
            self.show(progress)
            self._draw(progress, last=True)
        self.button.description = "Ended"
        self.button.disabled = True
        self.say(line)

    def _draw(self, progress: StudyProgress, last: bool = False) -> None:
        figure = live_curves(progress)
        if figure is None:
            return
        if runtime_name() == "Jupyter":  # JupyterLab draws a figure anew after something else alone
            blank = f'<div style="height: {figure.layout.height}px"></div>'
            update_display({"text/html": blank}, raw=True, display_id=self._figure)
        # As a bundle: a figure that is displayed by itself takes a new place in the cell every time.
        # The last one stays in the notebook, and pages without scripts show its PNG.
        forms = bundle(figure) if last else interactive(figure)
        update_display(forms, raw=True, display_id=self._figure)
        self._drawn = progress.trials

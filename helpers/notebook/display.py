"""What the notebooks call: run the script with live output, show tables, figures and images inline."""

from __future__ import annotations

import html
import re
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import optuna
from IPython.display import Image, display

from gazegaussian.config import load_run
from gazegaussian.errors import ConfigError, UserError
from gazegaussian.stages import stage_names
from helpers.notebook.cli_process import ScriptError, ScriptInterrupted, last_message, start
from helpers.notebook.drive import revive_drive
from helpers.notebook.figure_display import show_figure
from helpers.reporting.captions import missing_figures
from helpers.reporting.figures import study_figures
from helpers.results.attributes import STAGE
from helpers.results.ranking import best_trial, metric_names, signs
from helpers.results.run_files import best_image, trial_dir
from helpers.results.tables import searched, top_table, trial_rows
from helpers.results.trial_states import count_finished
from helpers.search.trial_names import is_smoke_test
from helpers.storage.location import study_folders
from helpers.study.factory import load_study
from helpers.utils.paths import SCRIPT
from helpers.utils.runtime import is_in_notebook, lost_studies_hint
from helpers.utils.tables import display_forms, show_line, show_table

CODE = re.compile("`([^`]+)`")
SENTENCES = "max-width: 60em; white-space: pre-line; overflow-wrap: anywhere"


def run_script(*arguments: object) -> None:
    """Run `train_gazegaussian_optuna.py` in a process of its own and stream its lines into the cell.

    Interrupting the cell interrupts the script, which leaves a resumable state.

    Args:
        arguments: As on the command line; None is left out together with the flag before it.

    Raises:
        ScriptError: The script ended with another exit code than 0; its last line says why.
        ScriptInterrupted: The cell was interrupted.
    """
    command: list[str] = []
    for argument in arguments:
        if argument is None:
            command.pop()
        else:
            command.append(str(argument))
    process = start(command)
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            show_line(line)
            last = last_message(last, line)
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise ScriptInterrupted from None
    if code:
        shown = " ".join(cast("list[str]", process.args)[2:4])  # as started: without a password
        raise ScriptError(f"{SCRIPT.name} {shown} ended with exit code {code}: {last}")


def say(text: str) -> None:
    """Show sentences in the cell, which breaks printed lines inside words where they are wider than it is."""
    if not is_in_notebook():
        print(text)  # noqa: T201 - a notebook's output
        return
    page = CODE.sub(r"<code>\1</code>", html.escape(text))
    display_forms({"text/html": f'<div style="{SENTENCES}">{page}</div>', "text/plain": text})


def open_studies(out: Path, studies: Sequence[str] | str | None = None) -> dict[str, optuna.Study]:
    """Open studies by name for reading.

    Args:
        out: Folder of studies.
        studies: Names; None: the newest of each stage (see `newest_studies`).

    Raises:
        ConfigError: There is no such study.
    """
    names = [studies] if isinstance(studies, str) else studies
    return {name: load_study(Path(out, name)) for name in names or newest_studies(out)}


def newest_studies(out: Path) -> list[str]:
    """Name the study of each stage that was created or resumed last, the MeshHead's first; a smoke test where there is no other.

    Raises:
        ConfigError: There is none.
    """
    revive_drive(Path(out))
    newest: dict[str, tuple[bool, datetime, str]] = {}
    for folder in study_folders(Path(out)):
        try:
            study = load_study(folder)
        except UserError as error:  # the others can be shown
            say(str(error))
            continue
        starts = [trial.datetime_start for trial in study.get_trials(deepcopy=False)]
        latest = max(filter(None, starts), default=datetime.min)
        stage = study.user_attrs.get(STAGE, "")
        rank = (not is_smoke_test(folder.name), latest, folder.name)
        newest[stage] = max(newest.get(stage, rank), rank)
    if not newest:
        raise ConfigError(
            f"There is no study under {out}: run notebook 01 first, or set `out` to the folder of your studies."
            f"{lost_studies_hint(Path(out))}"
        )
    known = stage_names()
    order = [*known, *sorted(newest.keys() - set(known))]
    return [newest[stage][-1] for stage in order if stage in newest]


def show_trials(study: optuna.Study) -> None:
    """Display all trials, by number."""
    show_table(f"Trials of {study.study_name}", trial_rows(study), searched(study))


def show_top(study: optuna.Study, k: int = 3) -> None:
    """Display the k best trials with the best value of each objective and their parameters."""
    rows = top_table(study, k)
    if rows:
        show_table(f"Best trials of {study.study_name}", rows)
    else:
        say(f"{study.study_name}: no trial has finished yet; this cell shows the best ones once there are some.")


def show_figures(study: optuna.Study, names: Sequence[str] | None = None) -> None:
    """Display the study's figures inline, in the order of `names` or all of them."""
    figures = study_figures(study)
    for name in names or figures:
        if name in figures:
            show_figure(figures[name])
        else:
            need = missing_figures(study, figures).get(name, "another kind of study")
            say(f"{name}: needs {need}")


def show_best_images(study: optuna.Study, folder: Path) -> None:
    """Display the validation images of the best trial's best epoch, every row under its label."""
    best = best_trial(study)
    if best is None:
        say("no complete trial yet")
        return
    run_dir = trial_dir(best, Path(folder))
    image = None if run_dir is None else best_image(run_dir, metric_names(study)[0], signs(study)[0] == 1)
    if image is not None:
        show_image(image)
    else:
        say(f"trial {best.number} kept no images")


def show_training(folder: Path) -> None:
    """Display the validation images of a training's best epoch, whose weights `best.pt` holds."""
    wanted = load_run(Path(folder) / "config.yaml").training
    image = best_image(Path(folder), wanted.monitor, wanted.monitor_mode == "min")
    if image is None:
        say(f"{folder} holds no images (preview_images is 0?)")
        return
    say(f"epoch {int(image.stem.removeprefix('epoch_'))}, the best by {wanted.monitor}:")
    show_image(image)


def show_image(path: Path, width: int = 720) -> None:
    """Display an image file."""
    display(Image(filename=str(path), width=width))


__all__ = [
    "count_finished",
    "load_study",
    "newest_studies",
    "open_studies",
    "run_script",
    "show_best_images",
    "show_figures",
    "show_image",
    "show_top",
    "show_training",
    "show_trials",
]

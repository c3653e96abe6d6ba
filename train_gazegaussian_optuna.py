#!/usr/bin/env python3
"""Tune and train GazeGaussian: studies and what makes them trustworthy, single trainings, data sets, redirection.

A thin command line over `helpers`. Exit codes: 0 done, 2 bad input or configuration (one line), 130 interrupted, 1 else.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import typer
except ModuleNotFoundError:
    sys.exit(
        "error: packages are missing here: run `make setup` and use .venv/bin/python, or pip install -r requirements.txt"
    )

from gazegaussian.hidden_options import hide_option
from helpers.commands import data, studies, trainings
from helpers.script import STORAGE_VARIABLE

# click's, or that of the copy of click which newer versions of typer bring along.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
data_app = typer.Typer(help="Make, inspect and fetch data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

COMMANDS: dict[str, Callable[..., None]] = {
    "study": studies.study,
    "audit": studies.audit,
    "estimate": studies.estimate,
    "confirm": studies.confirm,
    "report": studies.report,
    "dashboard": studies.dashboard,
    "migrate": studies.migrate,
    "train": trainings.train,
    "export": trainings.export,
    "import": trainings.import_checkpoint,
    "redirect": trainings.redirect,
    "sweep": trainings.sweep,
    "evaluate": trainings.evaluate,
}
DATA_COMMANDS: dict[str, Callable[..., None]] = {"synth": data.synth, "check": data.check, "download": data.download}
for name, command in COMMANDS.items():
    app.command(name)(command)
for name, command in DATA_COMMANDS.items():
    data_app.command(name)(command)


def main() -> None:
    """Run the command line with its exit codes."""
    from gazegaussian.errors import NonFiniteError, UserError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("kaleido").setLevel(logging.WARNING)
    logging.getLogger("choreographer").setLevel(logging.WARNING)
    try:
        code = app(standalone_mode=False)  # else typer itself prints errors, on several lines
    except UsageError as error:
        _say_usage(error)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteError as error:
        print(f"error: the training diverged: {error}. A lower lr usually helps.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(130)
    if code == 130:  # typer turns Ctrl-C into this exit code
        _say_interrupted()
    if code:
        sys.exit(code)


def _say_usage(error: Exception) -> None:
    """One line, or the whole help where no command was given."""
    text = error.format_message()  # type: ignore[attr-defined]
    context = error.ctx  # type: ignore[attr-defined]
    if text.startswith("Usage:"):
        print(text, file=sys.stderr)
        return
    line = " ".join(text.replace("Value error, ", "").split())
    command = context.command_path if context else Path(__file__).name
    print(f"error: {line}{'' if line[-1] in '.?!' else '.'} See {command} --help.", file=sys.stderr)


def _say_interrupted() -> None:
    print("interrupted; the same command goes on where this one stopped", file=sys.stderr)


def _hide_password() -> None:
    """Begin again without the storage's URL where it may hold a password: everybody may read command lines."""
    words, hidden = hide_option(sys.argv[1:], "--storage", STORAGE_VARIABLE)
    if os.name == "posix" and any("://" in url and not url.startswith("sqlite") for url in hidden.values()):
        python = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]  # with its own options
        os.execve(sys.executable, [*python, *words], {**os.environ, **hidden})


if __name__ == "__main__":
    _hide_password()
    main()

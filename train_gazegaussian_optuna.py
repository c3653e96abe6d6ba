#!/usr/bin/env python3
"""Tune and train GazeGaussian: studies and what makes them trustworthy, single trainings, data sets, redirection.

A thin command line over `helpers`. Exit codes: 0 done, 2 bad input or configuration (one line), 130 interrupted, 1 else.
"""

from __future__ import annotations

import sys

from gazegaussian.utils.hidden_options import reject_password
from gazegaussian.utils.interrupts import INTERRUPTED_CODE, interruptible, watch_process

STORAGE_VARIABLE = "GAZEGAUSSIAN_STORAGE"
if __name__ == "__main__":  # before seconds of imports, while the command line stands for all to read
    watch_process()
    try:
        reject_password(sys.argv[1:], "--storage", STORAGE_VARIABLE)
    except SystemExit as rejected:
        sys.stderr.write(f"{rejected}\n")
        sys.exit(2)

import atexit
import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path

try:
    import typer
except ModuleNotFoundError:
    sys.exit(
        "error: packages are missing here: run `make setup` and use .venv/bin/python, or pip install -r requirements.txt"
    )

from gazegaussian.utils.signs_of_life import signs_of_life
from helpers.cli import data, studies, trainings
from helpers.cli.program import announced, begin, summary
from helpers.cli.usage import usage_text
from helpers.utils.plain_text import PrintableFormatter

# click's, or that of the copy of click which newer versions of typer bring along.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help=(__doc__ or "").replace("A thin command line over `helpers`. ", ""),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    app.command(name, short_help=summary(command))(announced(name, command))
for name, command in DATA_COMMANDS.items():
    data_app.command(name, short_help=summary(command))(announced(name, command))
app.callback()(begin)


def main() -> None:
    """Run the command line with its exit codes."""
    from gazegaussian.errors import NonFiniteError, UserError

    atexit.register(gc.freeze)  # else Python looks through all of torch's objects as it ends, for more than a second
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kaleido").setLevel(logging.WARNING)
    logging.getLogger("choreographer").setLevel(logging.WARNING)
    try:
        with interruptible(), signs_of_life():
            # Not standalone, else typer itself prints errors, on several lines.
            code = app(standalone_mode=False, default_map=_storage_of_all())
    except UsageError as error:
        _print_usage(error)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        from helpers.utils.files import disk_problem

        why = disk_problem(error)
        if why is None:
            raise
        print(f"error: {why}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteError as error:
        print(f"error: the training diverged: {error}. A lower lr usually helps.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_CODE)  # a line that says so comes last
    if code:
        sys.exit(code)


def _print_usage(error: Exception) -> None:
    """One line, or the whole help where no command was given."""
    from gazegaussian.stages import stage_names

    text = usage_text(error, sys.argv[1:])
    context = error.ctx  # type: ignore[attr-defined]
    if text.startswith("Usage:"):
        print(text, file=sys.stderr)
        return
    line = " ".join(text.replace("Value error, ", "").split())
    if getattr(getattr(error, "param", None), "name", None) == "stage" and line.startswith("Missing"):
        line = f"{line.rstrip('.')}. Choose from: {', '.join(stage_names())}"
    command = context.command_path if context else Path(__file__).name
    print(f"error: {line}{'' if line[-1] in '.?!' else '.'} See {command} --help.", file=sys.stderr)


def _storage_of_all() -> dict[str, dict[str, str]]:
    """Take the storage's URL out of the environment, which every process started here would inherit, for the commands."""
    url = os.environ.pop(STORAGE_VARIABLE, None)
    return {} if url is None else {name: {"storage": url} for name in COMMANDS}


if __name__ == "__main__":
    main()

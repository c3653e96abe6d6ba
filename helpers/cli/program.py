"""What the script does before any command, and what its help says."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from gazegaussian.utils.configs import IN_REPOSITORY
from helpers.utils.paths import ROOT

logger = logging.getLogger(__name__)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"GazeGaussian {program_version()}")
        raise typer.Exit


def begin(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


def announced(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Have a command give its first line at once: reading settings may import packages for seconds."""

    @functools.wraps(command)
    def started(*args: Any, **options: Any) -> None:
        logger.info("%s: reading the settings", name)
        command(*args, **options)

    return started


def program_version() -> str:
    """Version of the installed copy, or of the repository, which need not be installed."""
    if not IN_REPOSITORY:
        return version("gazegaussian-studies")
    match = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "unknown"


def summary(command: Callable[..., None]) -> str:
    """First line of a command's help, whole: typer would cut it to the width of the terminal."""
    return (command.__doc__ or "").strip().partition("\n")[0]

"""Clear texts for wrong calls of which typer says little."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from helpers.utils.plain_text import is_number


def usage_text(error: Any, args: Sequence[str]) -> str:
    """What was wrong with a call.

    Args:
        error: A usage error of typer, or of the click beneath older versions.
        args: Command line after the script's name.
    """
    return _number(error) or _stray_number(error, args) or str(error.format_message())


def _number(error: Any) -> str | None:
    """What a numeric option takes; None of other errors. Older versions of typer say it themselves."""
    findings = getattr(error.__cause__, "errors", None)  # pydantic's
    parameter = getattr(error, "param", None)
    if findings is None or parameter is None:
        return None
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    first = findings()[0]
    whole = kind is int or first["type"].startswith("int_")
    if not whole and kind is not float and not first["type"].startswith("float_"):
        return None
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    span = "" if low is None else f" of at least {low}"
    if high is not None:
        span = f" of at most {high}" if low is None else f" from {low} to {high}"
    return f"{parameter.opts[0]} takes a {'whole ' if whole else ''}number{span}, not {first['input']}."


def _stray_number(error: Any, args: Sequence[str]) -> str | None:
    """How to give several values to an option that is repeated for them; None of other errors."""
    if error.ctx is None:
        return None
    repeated = {name for one in error.ctx.command.params if getattr(one, "multiple", False) for name in one.opts}
    option = ""
    for before, token in pairwise(args):
        if before.startswith("--"):
            option, _, value = before.partition("=")
            if not value:
                continue
        if option in repeated and is_number(token):
            return f"{option} takes one value, {token} is another: repeat {option} for each value."
    return None

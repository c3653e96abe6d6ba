"""Keeps secrets out of process titles: everybody on a machine may read command lines, the environment its owner alone."""

from __future__ import annotations

from collections.abc import Sequence


def hide_option(words: Sequence[str], option: str, variable: str) -> tuple[list[str], dict[str, str]]:
    """Move the value of an option from a command line to an environment variable.

    Args:
        words: Of the command line.
        option: Such as `--storage`; both `--storage VALUE` and `--storage=VALUE` are found.
        variable: Name of the variable that the command reads the option from.

    Returns:
        The other words, and what to add to the environment: nothing where the option is not given.
    """
    rest: list[str] = []
    found: dict[str, str] = {}
    following = iter(words)
    for word in following:
        name, equals, value = word.partition("=")
        if name != option:
            rest.append(word)
        elif equals:
            found[variable] = value
        elif (after := next(following, None)) is not None:
            found[variable] = after
        else:
            rest.append(word)  # a value is missing: the command says so
    return rest, found

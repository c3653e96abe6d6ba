"""Keeps secrets out of process titles: everybody on a machine may read command lines, the environment its owner alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a password stands behind: `user:` after `://` or, where the scheme was forgotten, at the beginning (a drive's `C:\` is
# none). Greedy up to the last `@`: a password with an unescaped `@` or `/` must not show its second half.
_USER = re.compile(r"(://[^:/@]*:|^(?![A-Za-z]:[\\/])[^:/@\s]+:(?!//)).*@", re.DOTALL)
_QUERY = re.compile(r"(?i)((?:^|[?&\s])[^=&\s]*(?:pass|pwd|secret|token)[^=&]*=\s*)[^&\s]+")


def redacted(url: str) -> str:
    """Hide the passwords of a URL, also of one that a URL parser would reject.

    Args:
        url: Any text; usually a storage URL.

    Returns:
        The text with `***` for what stands between `user:` and the last `@`, and for secrets in the query.
    """
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", url))


def reject_password(args: Sequence[str], option: str, variable: str) -> None:
    """End the program where an option's value on the command line holds a password: everybody on the machine may read it.

    Args:
        args: Of the command line.
        option: Such as `--storage`.
        variable: Name of the environment variable that the command reads the option from.

    Raises:
        SystemExit: With code 2, after one line that names the variable.
    """
    given = hide_option(args, option, variable)[1].get(variable, "")
    if redacted(given) != given:
        raise SystemExit(
            f"error: a password on the command line can be read by everybody on this machine. Set the environment variable "
            f"{variable} to {redacted(given)} (with the password) and leave {option} out."
        )


def hide_option(args: Sequence[str], option: str, variable: str) -> tuple[list[str], dict[str, str]]:
    """Move the value of an option from a command line to an environment variable.

    Args:
        args: Of the command line.
        option: Such as `--storage`; both `--storage VALUE` and `--storage=VALUE` are found.
        variable: Name of the variable that the command reads the option from.

    Returns:
        The other arguments, and what to add to the environment: nothing where the option is not given.
    """
    rest: list[str] = []
    hidden: dict[str, str] = {}
    following = iter(args)
    for word in following:
        name, equals, value = word.partition("=")
        if name != option:
            rest.append(word)
        elif equals:
            hidden[variable] = value
        elif (after := next(following, None)) is not None:
            hidden[variable] = after
        else:
            rest.append(word)  # a value is missing: the command says so
    return rest, hidden

"""Errors that a user can act on.

`UserError` means "the input is wrong, the program is right": its text is one clear line that says what was expected,
what came and what to do. The command line prints it without a traceback and exits with code 2.
"""


def first_line(error: BaseException | str) -> str:
    """First line with something on it of an error's text, to be put into another sentence.

    Args:
        error: An error, or the text of one.

    Returns:
        The line without spaces around it; of an error without a text the name of its class, of an empty text nothing.
    """
    nameless = "" if isinstance(error, str) else type(error).__name__
    return next(filter(None, map(str.strip, str(error).splitlines())), nameless)


def class_and_line(error: BaseException) -> str:
    """Class and first line of an error, the class alone where there is no text."""
    name = type(error).__name__
    line = first_line(str(error))
    return f"{name}: {line}" if line else name


class UserError(Exception):
    """The input cannot be used; the message says what to change."""

    def __str__(self) -> str:
        """One line, whatever names and values it quotes: those may hold line breaks or commands of a terminal."""
        return "".join(c if c.isprintable() else " " for c in super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What a notebook's cell shows, by IPython's protocol: where the program stood does not help to change the input."""
        return [class_and_line(self)]


class ConfigError(UserError):
    """A configuration or study file names something unknown or impossible."""


class DataError(UserError):
    """A data folder or file is missing, damaged or incomplete."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, of another schema version or of another stage."""


class DeviceError(UserError):
    """The requested device is not there."""


class NonFiniteError(ArithmeticError):
    """A loss or gradient is NaN or infinite; raised before the weights are touched."""

"""Text from elsewhere (names, reasons, paths) as it may stand in terminals, tables, Markdown and spreadsheets."""

from __future__ import annotations

import logging
import re

_FORMULA = re.compile(r"[=+\-@\t\r]")
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "\\|", "[": "\\[", "]": "\\]"})


def printable(text: str) -> str:
    r"""Replace what commands a terminal or breaks a line by spaces.

    >>> printable("a\x1b[2Jb\nc")
    'a [2Jb c'
    """
    return "".join(character if character.isprintable() else " " for character in text)


def markdown(text: str) -> str:
    r"""One line of Markdown that shows a text as it is: no tags, links, pictures or columns come of it.

    >>> markdown("![x](http://a.example/x.png) | <b>")
    '!\\[x\\](http://a.example/x.png) \\| &lt;b>'
    """
    return " ".join(printable(text).split()).translate(_MARKUP)


def csv_text(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> csv_text("=HYPERLINK(1)"), csv_text("-1.5e-3"), csv_text("lr")
    ("'=HYPERLINK(1)", '-1.5e-3', 'lr')
    """
    text = printable(text).lstrip()
    if not _FORMULA.match(text) or is_number(text):
        return text
    return f"'{text}"


def is_number(text: str) -> bool:
    """Tell whether a text is a number.

    >>> is_number("-2e3"), is_number("two")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


class PrintableFormatter(logging.Formatter):
    """Lines of a log: messages keep their line breaks, and lose what commands a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record (see `logging.Formatter`)."""
        return "\n".join(map(printable, super().format(record).split("\n")))

"""Tables of commands: drawn with lines in a terminal, as HTML in a cell, which would fold lines that are wider than it is."""

from __future__ import annotations

import html
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from helpers.utils.plain_text import printable

if TYPE_CHECKING:
    from rich.table import Table

CELL_VARIABLE = "GAZEGAUSSIAN_CELL"
"""Environment variable under which commands print a table as one line for `show_line`."""

LONGEST_HEADER = 12  # characters on one line of a table's header
_MARK = "\x1etable "
_LONG_TEXT = 30  # characters of a cell that is not to become a narrow column
_WIDTH = 160  # characters, where there is no terminal


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table as wide as the terminal, without columns that are empty in all rows.

    Args:
        title: Above it.
        rows: Values by column; columns in order of first appearance.
    """
    from rich.console import Console

    names, texts = _texts(rows)
    if os.environ.get(CELL_VARIABLE):
        sys.stdout.write(f"{_MARK}{json.dumps([title, names, texts])}\n")
    else:
        Console(width=None if sys.stdout.isatty() else _WIDTH).print(_drawn(title, names, texts))


def show_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Display a table in a cell, as `print_table` prints it elsewhere."""
    _display(title, *_texts(rows))


def show_folded(title: str, rows: list[dict[str, Any]]) -> None:
    """Display a table in a cell as one line that a click opens."""
    names, texts = _texts(rows)
    page, plain = _forms(title, names, texts)
    said = f"{html.escape(title)}: {len(rows)} rows"
    display_forms({"text/html": f"<details><summary>{said}</summary>{page}</details>", "text/plain": plain})


def is_table(line: str) -> bool:
    """Tell whether a line of a command holds a table."""
    return line.startswith(_MARK)


def show_line(line: str) -> None:
    """Show a line of a command in the cell: text as it is, tables as such."""
    if is_table(line):
        _display(*json.loads(line.removeprefix(_MARK)))
    else:
        sys.stdout.write(line)


def _texts(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Names of the columns that are not empty, and their cells as text."""
    known = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in known if any(row.get(name) not in (None, "") for row in rows)]
    cells = [[row.get(name) for name in names] for row in rows]
    return [printable(name) for name in names], [[_text(cell) for cell in row] for row in cells]


def _text(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else printable(str(cell))


def display_forms(forms: dict[str, str]) -> None:
    """Display the same thing by MIME type."""
    from IPython.display import display

    display(forms, raw=True)


def _display(title: str, names: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    page, plain = _forms(title, names, texts)
    display_forms({"text/html": page, "text/plain": plain})


def _forms(title: str, names: Sequence[str], texts: Sequence[Sequence[str]]) -> tuple[str, str]:
    """A table as HTML and as text."""
    import pandas as pd
    from rich.console import Console

    headers = [html.escape(name).replace("_", "_<wbr>") for name in names]  # may be broken there
    long = [column for column in range(len(names)) if any(len(row[column]) > _LONG_TEXT for row in texts)]
    looks = {"th, td": "text-align: left", "td": "max-width: 28em; white-space: normal"}
    looks |= {f"td.col{column}": "min-width: 14em" for column in long}
    style = pd.DataFrame(texts, columns=headers).style.hide(axis="index").set_caption(html.escape(title))
    style.format(escape="html").set_table_styles([{"selector": k, "props": v} for k, v in looks.items()])
    console = Console(width=_WIDTH, color_system=None)
    with console.capture() as plain:
        console.print(_drawn(title, names, texts))
    return style.to_html(), plain.get()


def _drawn(title: str, names: Sequence[str], texts: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title), style="table.title"))  # `Text`: brackets are no markup
    for name in names:
        # Long names are broken after an underscore, not in the middle of a word.
        header = name.replace("_", "_\n") if len(name) > LONGEST_HEADER else name
        table.add_column(Text(header, style="table.header"), overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    return table

"""Tables of commands: drawn with lines in a terminal, as HTML in a cell, which would fold lines that are wider than it is.

Short cells (states, numbers, names) are never broken. Where a terminal has no room for all columns, those that may give way are
left out, the last one first, and a line below names them. Where none may, rows become columns.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from helpers.utils.plain_text import printable

if TYPE_CHECKING:
    from rich.table import Table

CELL_VARIABLE = "GAZEGAUSSIAN_CELL"
"""Environment variable under which commands print a table as one line for `show_line`."""

_MARK = "\x1etable "
_LONG_TEXT = 30  # characters of a cell that may be broken between words
_NARROWEST_TEXT = 14  # characters of a column of such cells
_NARROW = 80  # characters, where there is no terminal
_UNLIMITED = 10_000


def print_table(title: str, rows: list[dict[str, Any]], gives_way: Collection[str] = (), wide: bool = False) -> None:
    """Print a table as wide as the terminal, or 80 characters, without columns that are empty in all rows.

    Args:
        title: Above it.
        rows: Values by column; columns in order of first appearance.
        gives_way: Columns to leave out where there is no room for all, the last one first.
        wide: Print all columns, however wide that is.
    """
    names, texts = _texts(rows)
    if os.environ.get(CELL_VARIABLE):
        sys.stdout.write(f"{_MARK}{json.dumps([title, names, texts, list(gives_way)])}\n")
    else:
        width = _UNLIMITED if wide else shutil.get_terminal_size((_NARROW, 24)).columns
        sys.stdout.write(_drawn(title, names, texts, gives_way, width, sys.stdout.isatty()))


def show_table(title: str, rows: list[dict[str, Any]], gives_way: Collection[str] = ()) -> None:
    """Display a table in a cell, as `print_table` prints it elsewhere."""
    _display(title, *_texts(rows), gives_way)


def show_folded(title: str, rows: list[dict[str, Any]]) -> None:
    """Display a table in a cell as one line that a click opens."""
    names, texts = _texts(rows)
    _, plain = _forms(title, names, texts)
    page, _ = _forms("", names, texts)  # the line to click is the title
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


def _display(title: str, names: Sequence[str], texts: Sequence[Sequence[str]], gives_way: Collection[str] = ()) -> None:
    page, plain = _forms(title, names, texts, gives_way)
    display_forms({"text/html": page, "text/plain": plain})


def _forms(
    title: str, names: Sequence[str], texts: Sequence[Sequence[str]], gives_way: Collection[str] = ()
) -> tuple[str, str]:
    """A table as HTML and as text."""
    import pandas as pd

    headers = [html.escape(name).replace("_", "_<wbr>") for name in names]  # may be broken there
    looks = {"th, td": "text-align: left", "td": "white-space: nowrap", "": "display: block; overflow-x: auto"}
    for column in range(len(names)):
        if _is_long(texts, column):
            looks[f"td.col{column}"] = "min-width: 14em; max-width: 28em; white-space: normal"
    style = pd.DataFrame(texts, columns=headers).style.hide(axis="index").set_caption(html.escape(title))
    looks["caption"] = "text-align: left"  # above a table that is wider than the cell, too
    style.format(escape="html").set_table_styles([{"selector": k, "props": v} for k, v in looks.items()])
    return style.to_html(), _drawn(
        title, names, texts, gives_way, shutil.get_terminal_size((_NARROW, 24)).columns, False
    )


def _is_long(texts: Sequence[Sequence[str]], column: int) -> bool:
    return any(len(row[column]) > _LONG_TEXT for row in texts)


def _drawn(
    title: str,
    names: Sequence[str],
    texts: Sequence[Sequence[str]],
    gives_way: Collection[str],
    width: int,
    colors: bool,
) -> str:
    """Draw the columns that there is room for, and name the others."""
    from rich.console import Console

    shown = list(range(len(names)))
    may_go = [names.index(name) for name in gives_way if name in names]
    while may_go and _needed(names, texts, shown) > width:
        shown.remove(may_go.pop())
    missing = [name for column, name in enumerate(names) if column not in shown]
    if _needed(names, texts, shown) > width and not missing:
        turned = _turned(names, texts)
        if _needed(*turned, range(len(turned[0]))) <= width:
            names, texts = turned
            shown = list(range(len(names)))
    console = Console(
        width=width,
        color_system="auto" if colors else None,
        force_terminal=colors,
        force_jupyter=False,  # else every table in a cell comes with an empty output
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(_table(title, names, texts, shown))
    note = f"not shown: {', '.join(missing)} (--wide shows all)\n" if missing else ""
    return captured.get() + note


def _turned(names: Sequence[str], texts: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The same table with its rows as columns."""
    first, *others = zip(names, *texts, strict=True)
    return list(first), [list(row) for row in others]


def _needed(names: Sequence[str], texts: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    """Characters that some columns need, lines included."""
    return 1 + sum(3 + _least_width(names[column], [row[column] for row in texts]) for column in shown)


def _least_width(name: str, cells: Sequence[str]) -> int:
    """Characters that a column needs."""
    longest = max(map(len, cells), default=0)
    width = longest if longest <= _LONG_TEXT else _NARROWEST_TEXT
    return max(width, *map(len, _broken(name, width).split("\n")))


def _broken(name: str, width: int) -> str:
    """Break a header after underscores and spaces, where the cells are narrower."""
    lines = [""]
    pieces = re.findall(r"[^_ ]*[_ ]|[^_ ]+", name)
    room = max(width, *map(len, pieces), 0)
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip(" ")) > room:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


def _table(title: str, names: Sequence[str], texts: Sequence[Sequence[str]], shown: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title), style="table.title"))  # `Text`: brackets are no markup
    for column in shown:
        cells = [row[column] for row in texts]
        long = _is_long(texts, column)
        width = _NARROWEST_TEXT if long else max(map(len, cells), default=0)
        header = Text(_broken(names[column], width), style="table.header")
        table.add_column(header, overflow="fold", no_wrap=not long, min_width=_least_width(names[column], cells))
    for row in texts:
        table.add_row(*(Text(row[column]) for column in shown))
    return table

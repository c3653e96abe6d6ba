"""What commands print: tables, and what a data set holds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

LONGEST_HEADER = 12  # characters on one line of a table's header


def quiet_optuna() -> None:
    """Leave out what Optuna says about trials and studies, which have lines of their own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def print_data_report(folder: Path, as_json: bool) -> bool:
    """Print what a data set holds and what is wrong with it; returns whether it can be used."""
    from gazegaussian.data import check_dataset

    report = check_dataset(folder)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, default=str))
    else:
        splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
        typer.echo(f"{report.root}: {report.data_set}, {report.subjects} subjects ({splits})")
        typer.echo(f"{report.images} usable images of {'/'.join(map(str, report.sizes))} px, {report.skipped} skipped")
        for file, problem in report.problems.items():
            typer.echo(f"problem with {file}: {problem}")
        typer.echo("ok" if report.ok else "not usable as it is")
    return report.ok


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table as wide as the terminal, without columns that are empty in all rows.

    Args:
        title: Above it.
        rows: Values by column; columns in order of first appearance.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    known = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in known if any(row.get(name) not in (None, "") for row in rows)]
    for name in names:
        # Long names are broken after an underscore, not in the middle of a word.
        table.add_column(name.replace("_", "_\n") if len(name) > LONGEST_HEADER else name, overflow="fold")
    for row in rows:
        cells = [row.get(name) for name in names]
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else "" if c is None else str(c) for c in cells))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)

"""What commands print, but tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer


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
        if report.problems:
            typer.echo(
                "to do: replace or delete the files named above, or take them out of the split file; then check again"
            )
        typer.echo("ok" if report.ok else "not usable as it is")
    return report.ok

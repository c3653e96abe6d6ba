"""Files of one trial: its folder, curves, images of epochs."""

from __future__ import annotations

import csv
import functools
import io
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path

from optuna.trial import FrozenTrial

from gazegaussian.errors import first_line
from gazegaussian.training.hooks import IMAGES
from gazegaussian.utils.plain_files import read_plain

logger = logging.getLogger(__name__)


def trial_dir(trial: FrozenTrial, folder: Path | None = None) -> Path | None:
    """Folder of a trial, also when the study's folder was moved since; None when it is gone."""
    stored = trial.user_attrs.get("folder")
    if not stored:
        return None
    name = Path(stored).name
    candidates = [Path(stored)] if folder is None or name in ("", "..") else [Path(folder) / name, Path(stored)]
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def read_curves(path: Path) -> dict[str, list[float]]:
    """Columns of a `metrics.csv`, empty cells left out; nothing, and a line in the log, where it holds something else."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_plain(path).decode("utf-8"), newline="")))
        names = [name for name in rows[0] if name not in ("epoch", None)] if rows else []
        return {name: [float(row[name]) for row in rows if row[name]] for name in names}
    except (OSError, ValueError, csv.Error) as error:
        _pass_over(path, first_line(error))
        return {}


@functools.cache
def _pass_over(path: Path, reason: str) -> None:
    """Say once that a table is not read."""
    logger.warning("%s is passed over, expected a number per metric and epoch: %s", path, reason)


METRICS = "metrics.csv"


def epoch_images(run_dir: Path) -> dict[int, Path]:
    """Validation images of a run by epoch, counted from 1."""
    matches = ((re.fullmatch(r"epoch_(\d{1,9})", path.stem), path) for path in (run_dir / IMAGES).glob("epoch_*.png"))
    return {int(name[1]): path for name, path in matches if name}


def best_image(run_dir: Path, metric: str, minimize: bool) -> Path | None:
    """Validation images of the best epoch that has some; None when the run kept none.

    Args:
        run_dir: Of the run.
        metric: Column of its `metrics.csv` that decides.
        minimize: Whether small values are good.
    """
    images = epoch_images(run_dir)
    if not images:
        return None
    best = best_epoch(curve_of(run_dir, metric), minimize)
    return images.get(-1 if best is None else best + 1, images[max(images)])


def curve_of(run_dir: Path, metric: str) -> list[float]:
    """A metric after each epoch of a run; empty when it was not recorded."""
    table = run_dir / METRICS
    return read_curves(table).get(metric, []) if table.is_file() else []


def best_epoch(values: list[float], minimize: bool) -> int | None:
    """Position of the best finite value; None when there is none."""
    choose: Callable[..., int] = min if minimize else max
    finite = [epoch for epoch, value in enumerate(values) if math.isfinite(value)]
    return choose(finite, key=lambda epoch: values[epoch]) if finite else None

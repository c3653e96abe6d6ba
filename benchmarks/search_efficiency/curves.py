"""Recorded learning curves: one JSON line per configuration, after a line that says what was recorded.

Several processes append to one file. Each line is one write to a file opened for appending, and a line that a kill cut
short is passed over, so that its configuration is recorded again.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gazegaussian.config import parse_run
from gazegaussian.errors import ConfigError, DataError
from helpers.search_space import StudyFile

Status = Literal["complete", "diverged", "failed"]
DIGITS = 6  # significant; a validation loss repeats to fewer between machines


@dataclass(frozen=True)
class Curve:
    """One configuration trained without pruning."""

    index: int  # 0 is the baseline, the others are drawn at random
    params: dict[str, Any]
    status: Status
    values: tuple[float | None, ...]  # the metric after each epoch; None where it was not finite
    seconds: tuple[float, ...]  # of each epoch, training and validation
    train_seconds: tuple[float, ...]
    warm_up_seconds: float  # before the first epoch: building and warm start
    seed: int
    reason: str = ""

    def line(self) -> str:
        """Serialise, rounded."""
        return json.dumps(_rounded(asdict(self)), separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Header:
    """What was recorded; only curves of one header can be compared."""

    stage: str
    epochs: int
    seed: int  # of the drawn configurations
    config: dict[str, Any]  # the run configuration
    study: dict[str, Any]  # the study file
    start: str  # first digits of the sha256 of the checkpoint that stage two starts from, else empty
    machine: str

    @property
    def study_file(self) -> StudyFile:
        """Search space, metric and direction."""
        return StudyFile.model_validate(self.study)

    def same_as(self, other: Header) -> bool:
        """Compare all that a curve depends on: neither the machine, nor how a study would search.

        Fields that are newer have their defaults.
        """

        def compared(header: Header) -> str:
            config, study = parse_run(header.config, header.stage).model_dump(mode="json"), header.study_file
            searched = repr((study.parameters, study.metrics, study.directions))
            return json.dumps({**asdict(header), "config": config, "study": searched, "machine": ""})

        return compared(self) == compared(other)


def create(path: Path, header: Header) -> None:
    """Begin a file, or check that the one that is there can be continued.

    Args:
        path: JSON lines.
        header: What will be recorded.

    Raises:
        ConfigError: The file holds curves of something else.
        DataError: It is no file of curves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(header), separators=(",", ":")) + "\n")
    try:
        os.link(name, path)  # of several processes that begin together, one begins the file
        path.chmod(0o644)
    except FileExistsError:
        stored, _ = read(path)
        if not stored.same_as(header):
            raise ConfigError(
                f"{path} holds curves of another configuration, search space or seed. Give another --out, or the files "
                "that it was begun with."
            ) from None
    finally:
        Path(name).unlink()


def append(path: Path, curve: Curve) -> None:
    """Add a curve in one write; a line that was cut short before it is ended first."""
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        whole = stream.read(1) == b"\n"
    text = ("" if whole else "\n") + curve.line() + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, text.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> tuple[Header, list[Curve]]:
    """Read a file of curves, in the order of their indices.

    Raises:
        DataError: Missing, or no file of curves.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Cannot read curves from {path}: {error}. Record them with `python -m benchmarks.search_efficiency.record`."
        ) from error
    try:
        header = Header(**json.loads(lines[0]))
    except (IndexError, json.JSONDecodeError, TypeError) as error:
        raise DataError(f"{path} does not begin with the header of recorded curves; record them again.") from error
    curves: dict[int, Curve] = {}
    for line in lines[1:]:
        try:
            curve = Curve(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue  # cut short by a kill
        lists = {name: tuple(getattr(curve, name)) for name in ("values", "seconds", "train_seconds")}
        curves.setdefault(curve.index, Curve(**{**asdict(curve), **lists}))
    return header, [curves[index] for index in sorted(curves)]


def _rounded(value: Any) -> Any:
    """Round every real number to `DIGITS` significant digits; what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value

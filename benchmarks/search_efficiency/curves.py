"""Recorded learning curves: a file of JSON lines per stage and purpose.

The first line says what was recorded. Each further line is one training, or the range of learning rates from which a part
of the configurations is drawn. Several processes append to one file: a line is one write to a file opened for appending,
followed by fsync. A kill can cut the last line short. Readers drop such a line, and its training is recorded again.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from gazegaussian.errors import DataError
from helpers.search.space import StudyFile

Status = Literal["complete", "diverged", "failed"]
Drawn = Literal["baseline", "whole", "good"]
Purpose = Literal["choose", "report"]

DIGITS = 6  # significant; a validation loss repeats to fewer between machines
SEEDS: Mapping[Purpose, int] = {"choose": 1, "report": 2}  # of the drawn configurations
HALF_DECADES = "half_decades"
CPU_SECONDS = "cpu_seconds"


def sign_of(study: StudyFile) -> float:
    """Return the factor that makes a study's metric one to be minimised."""
    return -1.0 if study.directions[0] == "maximize" else 1.0


@dataclass(frozen=True)
class Curve:
    """One training without pruning.

    Attributes:
        index: Of the configuration; 0 is the baseline.
        seed: Of the training.
        drawn: `baseline`, at random from the `whole` space, or from its `good` half-decades of the learning rate.
        params: Searched parameters that act.
        status: `complete`, or why training ended early.
        metrics: Everything that an epoch leaves, one number per epoch: training loss and its terms, validation metrics,
            `seconds` of training and validation, `train_seconds`, `cpu_seconds`. None where a number was not finite.
        warm_up_seconds: Building the stage and its warm start, before the first epoch.
        warm_up_cpu_seconds: Processor time of that.
        reason: Of a status other than complete.
    """

    index: int
    seed: int
    drawn: Drawn
    params: dict[str, Any]
    status: Status
    metrics: dict[str, list[float | None]]
    warm_up_seconds: float
    warm_up_cpu_seconds: float
    reason: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Configuration and training seed."""
        return self.index, self.seed

    @property
    def epochs(self) -> int:
        """Epochs that were trained."""
        return max(map(len, self.metrics.values()), default=0)

    @property
    def seconds(self) -> float:
        """Duration of the whole training."""
        return self.warm_up_seconds + sum(second or 0.0 for second in self.metrics.get("seconds", []))

    def result(self, study: StudyFile) -> float:
        """Best value of the study's metric, to be minimised; infinite where training did not end well."""
        if self.status != "complete":
            return math.inf
        return min(sign_of(study) * value for value in self.metrics[study.metrics[0]] if value is not None)

    def line(self) -> str:
        """Serialise with numbers rounded."""
        return _json(asdict(self))


@dataclass(frozen=True)
class Header:
    """What was recorded. Curves can be compared when their digests are equal.

    Attributes:
        stage: `meshhead` or `gazegaussian`.
        purpose: `choose` sampler and pruner by these curves, or `report` figures on them.
        epochs: Of one training.
        seed: Of the drawn configurations.
        digest: Of everything that a curve depends on (see `identity.digest`).
        config: The run configuration.
        study: The study file.
        data: Version of the synthetic heads, digests of the frozen networks and of the checkpoint that stage two starts from.
        program: Commit of the program, `+changes` where files differed from it.
        machine: Torch, processor and threads.
    """

    stage: str
    purpose: Purpose
    epochs: int
    seed: int
    digest: str
    config: dict[str, Any]
    study: dict[str, Any]
    data: dict[str, str]
    program: str
    machine: str

    @property
    def study_file(self) -> StudyFile:
        """Search space, metric and direction."""
        return StudyFile.model_validate(self.study)


@dataclass(frozen=True)
class Recording:
    """A file of curves.

    Attributes:
        header: Its first line.
        curves: In the order of configuration and training seed, each once.
        half_decades: Ranges of the learning rate from which `good` configurations are drawn; empty until chosen.
    """

    header: Header
    curves: list[Curve] = field(default_factory=list)
    half_decades: tuple[tuple[float, float], ...] = ()

    @property
    def keys(self) -> set[tuple[int, int]]:
        """Configurations and training seeds that were recorded."""
        return {curve.key for curve in self.curves}


def create(path: Path, header: Header) -> Header:
    """Create a file, unless it is there.

    Args:
        path: JSON lines.
        header: What will be recorded.

    Returns:
        The header that the file has.

    Raises:
        DataError: The file that is there is no file of curves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(_json(asdict(header)) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(name, path)  # of several processes that start together, one creates the file
        path.chmod(0o644)
    except FileExistsError:
        return read(path).header
    finally:
        Path(name).unlink()
    return header


def append(path: Path, content: Curve | Mapping[str, Any]) -> None:
    """Add a line in one write. A line that was cut short before it is ended first."""
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        whole = stream.read(1) == b"\n"
    line = content.line() if isinstance(content, Curve) else _json(dict(content))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, (("" if whole else "\n") + line + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Recording:
    """Read a file of curves.

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
    curves: dict[tuple[int, int], Curve] = {}
    half_decades: tuple[tuple[float, float], ...] = ()
    for line in lines[1:]:
        content = _parsed(line)
        if HALF_DECADES in content:
            half_decades = half_decades or tuple((low, high) for low, high in content[HALF_DECADES])
        elif content:
            curve = Curve(**content)
            curves.setdefault(curve.key, curve)  # two processes may have trained the last ones twice
    return Recording(header, [curves[key] for key in sorted(curves)], half_decades)


def _parsed(line: str) -> dict[str, Any]:
    """Read one line; nothing where a kill cut it short."""
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return {}
    known = isinstance(content, dict) and (HALF_DECADES in content or Curve.__annotations__.keys() >= content.keys())
    return cast(dict[str, Any], content) if known else {}


def _json(content: Any) -> str:
    return json.dumps(_rounded(content), separators=(",", ":"), allow_nan=False)


def _rounded(value: Any) -> Any:
    """Round every real number to `DIGITS` significant digits; what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value

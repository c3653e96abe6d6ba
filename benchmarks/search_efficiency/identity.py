"""What recorded curves depend on, and whether they belong to the sizes of today."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.search_efficiency.curves import SEEDS, Header, Purpose
from gazegaussian.config import RunConfig, load_run, parse_run, with_parameters
from gazegaussian.errors import ConfigError, UserError
from gazegaussian.training.changed_fields import PATHS, RUNTIME_FIELDS
from helpers.search.space import StudyFile, load_study_file
from helpers.utils.paths import ROOT, run_file, study_file_of

_FREE = RUNTIME_FIELDS | PATHS | {"seed"}  # neither the machine's folders nor a training seed make other sizes


def as_trained(config: RunConfig, study: StudyFile) -> RunConfig:
    """Return the run configuration with the study's metric and epochs, without early stopping and pictures.

    Raises:
        ConfigError: The study has several metrics.
    """
    if study.multi:
        raise ConfigError("Curves are recorded for one metric; the study file names several: give one.")
    searched = {"monitor": study.metrics[0], "monitor_mode": "max" if study.directions[0] == "maximize" else "min"}
    epochs = config.training.epochs if study.epochs is None else study.epochs
    return with_parameters(config, {**searched, "epochs": epochs, "preview_images": 0, "patience": None})


def make_header(config: RunConfig, study: StudyFile, purpose: Purpose) -> Header:
    """Describe a recording before it starts.

    Args:
        config: As it is trained: epochs and metric are those of the study.
        study: What is searched.
        purpose: Of the file.
    """
    import torch  # reading curves needs none of these

    from gazegaussian.build import frozen_digests
    from gazegaussian.data.synthetic.generator import GENERATOR_VERSION

    content = config.model_dump(mode="json")
    data = {"generator": str(GENERATOR_VERSION), **frozen_digests()}
    for name in ("meshhead_checkpoint", "init_from"):
        path: Path | None = getattr(config, name, None)
        if path is not None and path.is_file():
            data[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            content[name] = path.name
    return Header(
        stage=config.stage,
        purpose=purpose,
        epochs=config.training.epochs,
        seed=SEEDS[purpose],
        digest=digest(config, study, data),
        config=content,
        study=study.model_dump(mode="json"),
        data=data,
        program=_commit(),
        machine=f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread",
    )


def digest(config: RunConfig, study: StudyFile, data: dict[str, str]) -> str:
    """Return the first twelve digits of the sha256 of everything that a curve depends on.

    Neither the number of trials nor sampler and pruner of the study file change a curve.
    """
    content = {"config": _fields(config), "study": _searched(study), "data": data}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def require_sizes(header: Header, config: RunConfig, study: StudyFile, path: Path) -> None:
    """Check that curves were recorded with the present run configuration and search space.

    Args:
        header: Of the file.
        config: As it would be trained today.
        study: The present study file.
        path: Named in the error.

    Raises:
        ConfigError: They were not; the fields that differ are named.
    """
    if header.stage != config.stage:
        raise ConfigError(f"{path} holds curves of {header.stage}, not of {config.stage}.")
    try:  # fields that are newer than the file have their defaults
        before = {**_fields(parse_run(header.config, header.stage)), **_searched(header.study_file)}
    except (UserError, ValueError) as error:
        raise ConfigError(f"{path} was recorded by another version of the program; record it again: {error}") from error
    now = {**_fields(config), **_searched(study)}
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        differing = "; ".join(f"{name}: {before.get(name)} -> {now.get(name)}" for name in names)
        raise ConfigError(
            f"{path} was recorded with other sizes ({differing}). Record the curves again, or give the --config and --study "
            "that they were recorded with."
        )


def require_quick_sizes(header: Header, path: Path, config: Path | None = None, study: Path | None = None) -> None:
    """Check that curves were recorded with the quick sizes of today.

    Args:
        header: Of the file.
        path: Named in the error.
        config: Run configuration instead of `configs/runs/STAGE/quick.yaml`.
        study: Study file instead of `configs/studies/STAGE/quick.yaml`.

    Raises:
        ConfigError: They were not, or the files cannot be read.
    """
    run = load_run(config or run_file(header.stage), header.stage)
    searched = load_study_file(study or study_file_of(header.stage), header.stage)
    require_sizes(header, as_trained(run, searched), searched, path)


def require_compatible(stored: Header, config: RunConfig, study: StudyFile, header: Header, path: Path) -> None:
    """Check that a recording can be continued: same sizes, same data, same purpose.

    Args:
        stored: Header of the file.
        config: As it is trained now.
        study: The present study file.
        header: Of what would be recorded now.
        path: Named in the error.

    Raises:
        ConfigError: With what differs.
    """
    require_sizes(stored, config, study, path)
    pairs: dict[str, tuple[object, object]] = {
        "purpose": (stored.purpose, header.purpose),
        "seed": (stored.seed, header.seed),
    }
    pairs |= {name: (stored.data.get(name), header.data.get(name)) for name in {**stored.data, **header.data}}
    differing = [f"{name}: {before} -> {now}" for name, (before, now) in pairs.items() if before != now]
    if differing:
        raise ConfigError(f"{path} holds other curves ({'; '.join(differing)}). Give another --out.")


def _fields(config: RunConfig) -> dict[str, Any]:
    """Values of a run configuration that decide what a training computes."""
    sections = [
        value if isinstance(value, dict) else {name: value} for name, value in config.model_dump(mode="json").items()
    ]
    return {name: value for section in sections for name, value in section.items() if name not in _FREE}


def _searched(study: StudyFile) -> dict[str, Any]:
    """Search space, metric and direction, by names that no field of a run has."""
    content = json.loads(study.fingerprint())
    return {f"study.{name}": value for name, value in content.items()}


def _commit() -> str:
    """Name the commit of the program; empty where there is no repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip()[:12] + ("+changes" if changes.stdout.strip() else "")

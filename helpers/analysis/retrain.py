"""Trainings beside a study: its configurations trained again without a pruner, each in its own folder, resumable.

`helpers.analysis.confirm` and `helpers.analysis.continue_pruned` are made of these. The study itself is only read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from gazegaussian.config import RunConfig, earlier_variant, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, class_and_line
from gazegaussian.fields import parameter_fields
from gazegaussian.training.changed_fields import RUNTIME_FIELDS
from gazegaussian.utils.atomic_files import atomic_copy
from helpers.results.attributes import FINGERPRINT
from helpers.results.lookup import find_study, stored_config
from helpers.search.constraints import Constraint
from helpers.study.people import require_same_people
from helpers.study.spec import StudySpec, preflight, train_run
from helpers.utils.files import stored_json, write_json

if TYPE_CHECKING:
    from helpers.study.isolation import Train

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
CHECKPOINTS = ("best.pt", "last.pt", "metrics.csv")


@dataclass(frozen=True)
class Source:
    """A study opened for retraining its configurations."""

    study: optuna.Study
    folder: Path
    config: RunConfig  # what its trials started from
    train: Train
    limits: tuple[Constraint, ...] = ()  # what an acceptable training keeps


@dataclass(frozen=True)
class Run:
    """One finished training."""

    value: float | None  # best metric; None when the training failed
    reason: str = ""  # of a failure
    best_epoch: int = -1
    epochs: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # the best epoch's


def open_source(
    source: StudySpec | Path | str,
    train: Train | None = None,
    check: Callable[[RunConfig], None] | None = None,
    storage: str | None = None,
) -> Source:
    """Open a study, with the configuration that its trials were measured with.

    Args:
        source: The spec that ran it, or its folder.
        train: Instead of the spec's or the real training.
        check: Instead of the spec's or the real check of device, data and checkpoint.
        storage: URL, when a folder is given and the study is not in its own SQLite file.

    Raises:
        UserError: There is no such study, its configuration cannot be used here, or its data have other people by now.
    """
    spec = source if isinstance(source, StudySpec) else None
    folder = spec.folder if spec else Path(source)  # type: ignore[arg-type]
    study = find_study(folder, spec.storage if spec else storage)
    config = stored_config(study)
    if spec is not None:  # where to compute may differ from where the study ran, what to compute may not
        config = computed_as(config, spec.config)
    require_same_people(study, config)
    (check or (spec.check if spec else preflight))(config)
    return Source(study, folder, config, train or (spec.train if spec else train_run), study_limits(study))


def computed_as(config: RunConfig, other: RunConfig) -> RunConfig:
    """Return a configuration with another one's device, threads and whatever else decides where a training is computed."""
    content = other.model_dump(mode="json")
    known = parameter_fields(config)
    runtime = {name: content[known[name][0]][name] for name in sorted(RUNTIME_FIELDS) if name in known}
    return with_parameters(config, runtime)


def study_limits(study: optuna.Study) -> tuple[Constraint, ...]:
    """Constraints that a study was created with; none where it does not say."""
    try:
        stored = json.loads(study.user_attrs.get(FINGERPRINT, "{}")).get("constraints", {})
        return tuple(Constraint.parse(metric, text) for metric, text in stored.items())
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"Study {study.study_name!r} holds damaged constraints ({error}).") from error


def missed_limits(limits: Iterable[Constraint], metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Name the constraints that measured values miss, such as `gaze_error_deg <= 8`; unmeasured ones are not judged.

    Args:
        limits: Of the study.
        metrics: Of one training.
    """
    return tuple(
        f"{limit.metric} {limit.sense} {limit.bound:g}"
        for limit in limits
        if limit.metric in metrics and limit.violation(metrics[limit.metric]) > 0
    )


def finished_run(config: RunConfig, folder: Path) -> Run | None:
    """Read the finished training of a configuration; None where the folder holds none.

    Args:
        config: Of the training.
        folder: Of the training.
    """
    known = stored_json(folder / RUN_FILE)
    if known is None or "run" not in known or known.get("key") not in _keys(config):
        return None
    return Run(**known["run"])


def rerun(source: Source, config: RunConfig, folder: Path, start: Path | None = None) -> Run:
    """Train once to the end; a finished training is read, an interrupted one resumes from its last epoch.

    Args:
        source: Whose training function is used.
        config: Of this training.
        folder: Of this training; what another configuration left there is replaced.
        start: Folder of an unfinished training of the same configuration, to resume from; it is not touched.

    Raises:
        UserError: Data, checkpoint or device cannot be used.
        KeyboardInterrupt: The same call resumes it.
    """
    finished = finished_run(config, folder)
    if finished is not None:
        return finished
    key, *earlier = _keys(config)
    path = folder / RUN_FILE
    known = stored_json(path)
    if known is not None and known.get("key") not in (key, *earlier):
        if not _is_key(known.get("key")):
            raise ConfigError(f"{path} is not of a training of this program: move {folder} away and run again.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"key": key})
    if start is not None and not (folder / "last.pt").exists():
        for name in (name for name in CHECKPOINTS if (start / name).is_file()):
            atomic_copy(start / name, folder / name)  # last.pt comes whole or not at all
    run = _train(source.train, config, folder)
    write_json(path, {"key": key, "run": asdict(run)})
    return run


def _train(train: Train, config: RunConfig, folder: Path) -> Run:
    import torch

    started = time.monotonic()
    try:
        result = train(config, folder, [], (folder / "last.pt").exists())
        if result.best_epoch < 0:
            raise NonFiniteError(f"{config.training.monitor} was never finite")
    except (NonFiniteError, torch.OutOfMemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_available():
            torch.cuda.empty_cache()
        reason = class_and_line(error)
        logger.warning("%s failed: %s", folder.name, reason)
        return Run(None, reason, seconds=time.monotonic() - started)
    history = result.history
    metrics = history[result.best_epoch] if history else {}
    seconds = sum(row.get("seconds", 0.0) for row in history) or time.monotonic() - started
    logger.info(
        "%s: %s %.5f in epoch %d", folder.name, config.training.monitor, result.best_metric, result.best_epoch + 1
    )
    return Run(result.best_metric, "", result.best_epoch, len(history), seconds, dict(metrics))


def trial_config(config: RunConfig, parameters: Mapping[str, Any], seed: int | None = None) -> RunConfig:
    """Configuration of a trial, with another training seed when one is given."""
    changes = dict(parameters) if seed is None else {**parameters, "seed": seed}
    return with_parameters(config, changes)


def _keys(config: RunConfig) -> list[str]:
    """Digests of all that decides the outcome of a training: today's first, then that of versions with other names of variants."""
    content = config.model_dump(mode="json")
    for section in content.values():
        if isinstance(section, dict):
            for name in RUNTIME_FIELDS & section.keys():
                del section[name]
    contents = [content]
    if "variant" in content["model"]:
        contents.append(
            {**content, "model": {**content["model"], "variant": earlier_variant(content["model"]["variant"])}}
        )
    return [hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest() for one in contents]


def _is_key(text: object) -> bool:
    """Tell whether a text is what `_keys` makes, the mark of a folder that may be replaced."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None

"""Stores the settings a study was created with, checks that a new run is compatible, and recognises a complete study.

Neither torch nor plotly is needed for it.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from gazegaussian.training.changed_fields import PATHS, changed_fields
from gazegaussian.training.checkpoint_files import checkpoint_file
from gazegaussian.utils.counts import counted
from helpers.results.attributes import (
    CONFIG,
    EARLIER_SEARCHES,
    ENVIRONMENT,
    FINGERPRINT,
    INIT_FROM,
    MESHHEAD_SHA256,
    METRIC,
    PEOPLE,
    PRUNER,
    SAMPLER,
    SAMPLER_SEED,
    STAGE,
)
from helpers.results.lookup import created_study
from helpers.results.tables import HTML_FILE, save_results
from helpers.results.trial_states import count_finished, epochs_of, successors
from helpers.search.samplers_and_pruners import describe_pruner, describe_sampler
from helpers.search.study_config import StudyFile
from helpers.storage.backends import open_storage
from helpers.storage.location import has_store, require_plain
from helpers.study.people import groups_of, require_same_people
from helpers.study.spec import StudySpec
from helpers.study.trial_files import remove_old_checkpoints, sweep
from helpers.utils.environment import environment
from helpers.utils.files import DiskError, disk_problem, identify, patiently


def store_settings(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Store what decides whether later calls fit; a kill in between makes the next call repeat it.

    Args:
        study: New.
        study_file: What it searches.
        config: What its trials start from.
    """
    study.set_user_attr(STAGE, config.stage)
    study.set_user_attr(METRIC, study_file.metric)
    study.set_user_attr(CONFIG, config.model_dump_json())
    study.set_user_attr(MESHHEAD_SHA256, _digest(config.starts_from))
    study.set_user_attr(INIT_FROM, _digest(config.init_from))
    if config.data.root is not None:
        study.set_user_attr(PEOPLE, groups_of(config.data.root))
    for name, value in _search(study_file, config).items():
        study.set_user_attr(name, value)
    study.set_user_attr(FINGERPRINT, study_file.fingerprint())  # last: the mark that all is stored


def store_search(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Log what searches from now on where that is not what searched before; it may change, and trials stay comparable."""
    now = _search(study_file, config)
    before = {name: study.user_attrs.get(name, value) for name, value in now.items()}  # old studies do not know
    changes = [
        f"{name.replace('_', ' ')} {before[name]} -> {value}" for name, value in now.items() if before[name] != value
    ]
    if changes:
        ended = {"until_trial": len(study.get_trials(deepcopy=False)), **before}
        study.set_user_attr(EARLIER_SEARCHES, [*study.user_attrs.get(EARLIER_SEARCHES, []), ended])
        logger.info("study %s: %s, from the next trial on", study.study_name, ", ".join(changes))
    for name, value in now.items():
        if study.user_attrs.get(name) != value:
            study.set_user_attr(name, value)


def _search(study_file: StudyFile, config: RunConfig) -> dict[str, int | str]:
    """What proposes and what prunes, as attributes of the study."""
    return {
        SAMPLER_SEED: study_file.seed,
        SAMPLER: describe_sampler(study_file.sampler, study_file),
        PRUNER: describe_pruner(study_file.pruner, config.training.epochs, study_file.budget.min_epochs),
    }


def store_study_environment(study: optuna.Study, config: RunConfig) -> None:
    """Store where the study ran last: versions, device, commit, seeds."""
    seeds = {"sampler seed": str(study.user_attrs.get(SAMPLER_SEED, "unknown"))}
    study.set_user_attr(ENVIRONMENT, {**environment(config), **seeds})


def require_compatible(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Reject to add trials that cannot be compared with the ones there are.

    Raises:
        ConfigError: Another stage, search space, metric, configuration, MeshHead or people; with what to do.
    """
    name = study_file.study_name
    if study.user_attrs[STAGE] != config.stage:
        raise ConfigError(
            f"Study {name!r} tunes stage {study.user_attrs[STAGE]}, not {config.stage}. Give another --study-name."
        )
    if study.user_attrs[FINGERPRINT] != study_file.fingerprint():
        raise ConfigError(
            f"Study {name!r} was created with another search space, metric or direction "
            f"({'; '.join(study_file.differences(study.user_attrs[FINGERPRINT]))}). Give another --study-name, or the "
            "study file it was created with; `migrate` copies comparable trials into a new study."
        )
    stored = json.loads(study.user_attrs[CONFIG])
    changed = changed_fields(stored, config, PATHS)
    if changed:
        raise ConfigError(
            f"Study {name!r} was created with another configuration ({'; '.join(changed)}): its trials could not be "
            "compared with new ones. Give the values it was created with, or another --study-name."
        )
    digest = study.user_attrs.get(MESHHEAD_SHA256)
    if digest is not None and digest != _digest(config.starts_from):
        raise ConfigError(
            f"Study {name!r} starts from the MeshHead {stored['meshhead_checkpoint']}, and {config.starts_from} is "
            "another one: their trials could not be compared. Give --meshhead with that file, or another --study-name."
        )
    if study.user_attrs.get(INIT_FROM) != _digest(config.init_from):
        raise ConfigError(
            f"The trials of study {name!r} begin with the weights of {stored.get('init_from') or 'no checkpoint'}, here "
            f"with those of {config.init_from or 'no checkpoint'}: they could not be compared. Give --init-from as at "
            "first, or another --study-name."
        )
    require_same_people(study, config)
    root = str(config.data.root) if config.data.root else None
    if stored["data"]["root"] != root:
        logger.warning("study %s was created with the data in %s; now %s", name, stored["data"]["root"], root)


def _digest(path: Path | None) -> str | None:
    """SHA-256 of a checkpoint that trials start from; None where there is none."""
    return None if path is None else identify(checkpoint_file(path))["sha256"]


logger = logging.getLogger(__name__)


def existing_store(spec: StudySpec) -> BaseStorage | None:
    """Open the store of a spec for writing; None where the study's folder has none yet.

    Raises:
        StorageError: It cannot be used, or the study's folder holds links.
    """
    require_plain(spec.folder)
    return open_storage(spec.storage, spec.folder) if spec.storage is not None or has_store(spec.folder) else None


def comparable_study(spec: StudySpec, store: BaseStorage | None = None) -> optuna.Study | None:
    """Load the study of a spec, None where it is new; one whose trials could not be compared with new ones is rejected.

    Args:
        spec: What is to run.
        store: Where the study is; default: its store is opened for reading.

    Raises:
        ConfigError: With what differs.
        StorageError: The study's folder holds links.
    """
    require_plain(spec.folder)
    study = created_study(spec.study.study_name, spec.folder, spec.storage, store)
    if study is not None:
        require_compatible(study, spec.study, spec.monitored())
    return study


def complete_study(spec: StudySpec, store: BaseStorage | None) -> optuna.Study | None:
    """Load the study of a spec where it has all trials that are asked for, and write its tables.

    The stored study stays as it is, with what searched it and why it ended.

    Raises:
        ConfigError: Its trials could not be compared with new ones.
        DiskError: The tables cannot be written.
    """
    study = None if store is None else comparable_study(spec, store)
    done = 0 if study is None else count_finished(study)
    if study is None or done < spec.study.trials:
        return None
    save(study, spec)
    logger.info(
        "study %s has %s, %s asked for: nothing to add",
        study.study_name,
        counted(done, "finished trial"),
        "1 is" if spec.study.trials == 1 else f"{spec.study.trials} are",
    )
    return study


def is_reported(study: optuna.Study, folder: Path) -> bool:
    """Tell whether figures and report are there and no trial has ended since."""
    page = folder / HTML_FILE
    if not page.is_file() or not any((folder / "figures").glob("*.html")):
        return False
    ends = [
        trial.datetime_complete for trial in study.get_trials(deepcopy=False) if trial.datetime_complete is not None
    ]
    return max(ends, default=datetime.min) <= datetime.fromtimestamp(page.stat().st_mtime)


def has_results(study: optuna.Study, folder: Path) -> bool:
    """Tell whether a report has something to say: an epoch, or a trial that ended otherwise than by an interruption."""
    trials = study.get_trials(deepcopy=False)
    continued = successors(trials)
    return any(
        epochs_of(trial, folder) or (trial.state != TrialState.WAITING and trial.number not in continued)
        for trial in trials
    )


def save(study: optuna.Study, spec: StudySpec) -> None:
    """Write the results and make room.

    Raises:
        DiskError: They cannot be written; the trials themselves are in the storage.
    """

    def write() -> None:
        sweep(spec.folder)
        save_results(study, spec.folder)

    try:
        patiently(write)
    except OSError as error:
        raise DiskError(disk_problem(error) or f"The results cannot be written: {error}.") from error
    if spec.study.keep_best is not None:
        remove_old_checkpoints(study, spec.folder, spec.study.keep_best)
    spec.save_snapshot()

"""What a study remembers of how it was begun, and whether it may go on here: trials of one study must be comparable."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from gazegaussian.config import GazeGaussianRun, RunConfig, parse_run
from gazegaussian.errors import ConfigError, first_line
from gazegaussian.training.changed_fields import PATHS, changed_fields
from gazegaussian.training.files import checkpoint_file
from helpers.results.mesh_heads import identify
from helpers.search.pruners import describe_pruner
from helpers.search.samplers import describe_sampler
from helpers.search.study_config import StudyFile
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.location import has_store, study_folders
from helpers.study.heartbeat import ancestors
from helpers.utils.environment import environment

logger = logging.getLogger(__name__)

# Attributes of the study.
FINGERPRINT = "fingerprint"
STAGE = "stage"
METRIC = "metric"
CONFIG = "config"
STOP_REASON = "stop_reason"
MESHHEAD = "meshhead_sha256"
INIT_FROM = "init_from_sha256"
WANTED = "trials_wanted"  # finished trials that the last call was to reach
ENVIRONMENT = "environment"
SAMPLER_SEED = "sampler_seed"
EARLIER_SEARCHES = "earlier_searches"  # list: sampler, seed and pruner before a change, and the first trial after it
SAMPLER = "sampler"
PRUNER = "pruner"


def remember(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Store what decides whether later calls fit; a kill in between makes the next call repeat it.

    Args:
        study: New.
        study_file: What it searches.
        config: What its trials start from.
    """
    study.set_user_attr(STAGE, config.stage)
    study.set_user_attr(METRIC, study_file.metric)
    study.set_user_attr(CONFIG, config.model_dump_json())
    study.set_user_attr(MESHHEAD, _digest(_meshhead(config)))
    study.set_user_attr(INIT_FROM, _digest(config.init_from))
    for name, value in _search(study_file, config).items():
        study.set_user_attr(name, value)
    study.set_user_attr(FINGERPRINT, study_file.fingerprint())  # last: the mark that all is stored


def note_search(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Log what searches from now on where that is not what searched before; it may change, and trials stay comparable.

    Args:
        study: Begun earlier.
        study_file: Of this call.
        config: Of this call.
    """
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


def search_of(study: optuna.Study, trial: FrozenTrial) -> Mapping[str, Any]:
    """What proposed a trial's parameters, as attributes: sampler, its seed, pruner."""
    first = [trial, *ancestors(study.get_trials(deepcopy=False), trial)][-1]  # that the parameters were proposed for
    earlier = study.user_attrs.get(EARLIER_SEARCHES, [])
    return next((search for search in earlier if first.number < search["until_trial"]), study.user_attrs)


def _search(study_file: StudyFile, config: RunConfig) -> dict[str, int | str]:
    """What proposes and what prunes, as attributes of the study."""
    return {
        SAMPLER_SEED: study_file.seed,
        SAMPLER: describe_sampler(study_file.sampler, study_file),
        PRUNER: describe_pruner(study_file.pruner, config.training.epochs, study_file.budget.min_epochs),
    }


def note_environment(study: optuna.Study, config: RunConfig) -> None:
    """Store where the study ran last: versions, device, commit, seeds."""
    seeds = {"sampler seed": str(study.user_attrs.get(SAMPLER_SEED, "unknown"))}
    study.set_user_attr(ENVIRONMENT, {**environment(config), **seeds})


def require_same(study: optuna.Study, study_file: StudyFile, config: RunConfig) -> None:
    """Refuse to add trials that cannot be compared with the ones there are.

    Args:
        study: Begun earlier.
        study_file: Of this call.
        config: Of this call.

    Raises:
        ConfigError: Another stage, search space, metric, configuration or MeshHead; with what to do.
    """
    name = study_file.study_name
    if study.user_attrs[STAGE] != config.stage:
        raise ConfigError(
            f"Study {name!r} tunes stage {study.user_attrs[STAGE]}, not {config.stage}. Give another --study-name."
        )
    if study.user_attrs[FINGERPRINT] != study_file.fingerprint():
        raise ConfigError(
            f"Study {name!r} was begun with another search space, metric or direction "
            f"({'; '.join(study_file.differences(study.user_attrs[FINGERPRINT]))}). Give another --study-name, or the "
            "study file it was begun with; `migrate` takes comparable trials over into a new study."
        )
    stored = json.loads(study.user_attrs[CONFIG])
    changed = changed_fields(stored, config, PATHS)
    if changed:
        raise ConfigError(
            f"Study {name!r} was begun with another configuration ({'; '.join(changed)}): its trials could not be "
            "compared with new ones. Give the values it was begun with, or another --study-name."
        )
    digest = study.user_attrs.get(MESHHEAD)
    if digest is not None and digest != _digest(_meshhead(config)):
        raise ConfigError(
            f"Study {name!r} starts from the MeshHead {stored['meshhead_checkpoint']}, and {_meshhead(config)} is "
            "another one: their trials could not be compared. Give --meshhead with that file, or another --study-name."
        )
    if study.user_attrs.get(INIT_FROM) != _digest(config.init_from):
        raise ConfigError(
            f"The trials of study {name!r} begin with the weights of {stored.get('init_from') or 'no checkpoint'}, here "
            f"with those of {config.init_from or 'no checkpoint'}: they could not be compared. Give --init-from as at "
            "first, or another --study-name."
        )
    root = str(config.data.root) if config.data.root else None
    if stored["data"]["root"] != root:
        logger.warning("study %s was begun with the data in %s; now %s", name, stored["data"]["root"], root)


def begun_study(name: str, folder: Path, storage: str | None) -> optuna.Study | None:
    """Open a study that has trials; None when there is none yet.

    Args:
        name: Of the study.
        folder: Its folder.
        storage: URL, None for the store in the folder.
    """
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(storage, folder, must_exist=True))
    except (KeyError, StorageError):  # a broken store is named when the study is opened to be run
        return None
    return study if is_begun(study) else None


def find_study(folder: Path, storage: str | None = None) -> optuna.Study:
    """Open the study of a folder for reading; its name is the folder's, or whatever a renamed folder's own store holds.

    Args:
        folder: Of the study.
        storage: URL, None for the store in the folder.

    Raises:
        ConfigError: There is no such study.
    """
    if not folder.is_dir():
        beside = ", ".join(path.name for path in study_folders(folder.parent))
        there = f" {folder.parent} holds {beside}." if beside else ""
        raise ConfigError(f"No study at {folder}. Run `study` first, or name the folder of a study.{there}")
    if storage is None and not has_store(folder):
        studies = [path.name for path in study_folders(folder)]
        if studies:
            raise ConfigError(
                f"{folder} is no study but holds {len(studies)}: name one of them, such as {folder / studies[0]} "
                f"({', '.join(studies)})."
            )
    return only_study(open_storage(storage, folder, must_exist=True), folder, storage)


def only_study(store: BaseStorage, folder: Path, storage: str | None = None) -> optuna.Study:
    """Load the study of a folder from its opened store (see `find_study`)."""
    name = folder.resolve().name
    names = optuna.get_all_study_names(store)
    if storage is None and len(names) == 1:
        name = names[0]
    if name not in names:
        held = f"it holds {', '.join(names)}" if names else "it holds none"
        raise ConfigError(f"The storage holds no study named {name!r}, the name of the folder ({held}).")
    return optuna.load_study(study_name=name, storage=store)


def is_begun(study: optuna.Study) -> bool:
    """Tell whether a study has trials that new ones must be comparable with."""
    return FINGERPRINT in study.user_attrs and bool(study.get_trials(deepcopy=False))


def stored_meshhead(study: optuna.Study) -> Path | None:
    """MeshHead checkpoint that a study's trials start from, None where they start from none.

    Raises:
        ConfigError: It is gone.
    """
    return _still_there(study, _meshhead(stored_config(study)), "starts from the MeshHead", "--meshhead")


def stored_init(study: optuna.Study) -> Path | None:
    """Checkpoint whose weights a study's trials begin with, None where there is none.

    Raises:
        ConfigError: It is gone.
    """
    return _still_there(study, stored_config(study).init_from, "begins with the weights of", "--init-from")


def stored_config(study: optuna.Study) -> RunConfig:
    """Run configuration that a study's trials start from.

    Raises:
        ConfigError: It holds none, or none that this version reads.
    """
    origin = f"study {study.study_name!r}"
    try:
        content = json.loads(study.user_attrs[CONFIG])
    except KeyError:
        raise ConfigError(f"{origin} holds no run configuration: it was not made by `study`; run that first.") from None
    except ValueError as error:
        raise ConfigError(f"{origin} holds a damaged run configuration ({first_line(error)}).") from error
    return parse_run(content, study.user_attrs.get(STAGE), origin)


def readable_config(study: optuna.Study) -> RunConfig | None:
    """What `stored_config` gives; None where it refuses: studies of others and of other versions have results, too."""
    try:
        return stored_config(study)
    except ConfigError:
        return None


def _still_there(study: optuna.Study, path: Path | None, what: str, option: str) -> Path | None:
    if path is not None and not checkpoint_file(path).is_file():
        raise ConfigError(
            f"Study {study.study_name!r} {what} {path}, which is not there any more. Give {option} with the same file "
            "where it lies now, or another --study-name."
        )
    return path


def _meshhead(config: RunConfig) -> Path | None:
    return config.meshhead_checkpoint if isinstance(config, GazeGaussianRun) else None


def _digest(path: Path | None) -> str | None:
    """SHA-256 of a checkpoint that trials start from; None where there is none."""
    return None if path is None else identify(checkpoint_file(path))["sha256"]

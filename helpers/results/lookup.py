"""Finds studies in their stores and reads what they were created with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from gazegaussian.config import RunConfig, parse_run
from gazegaussian.errors import ConfigError, first_line
from gazegaussian.training.checkpoint_files import checkpoint_file
from helpers.results.attributes import CONFIG, EARLIER_SEARCHES, STAGE
from helpers.results.trial_states import ancestors, is_created
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.location import has_store, study_folders
from helpers.utils.files import disk_errors


def search_of(study: optuna.Study, trial: FrozenTrial) -> Mapping[str, Any]:
    """What proposed a trial's parameters, as attributes: sampler, its seed, pruner."""
    first = [trial, *ancestors(study.get_trials(deepcopy=False), trial)][-1]  # that the parameters were proposed for
    earlier = study.user_attrs.get(EARLIER_SEARCHES, [])
    return next((search for search in earlier if first.number < search["until_trial"]), study.user_attrs)


def study_in_memory(**settings: Any) -> optuna.Study:
    """Create a study that is stored nowhere, without Optuna's line about it; takes what `optuna.create_study` takes."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(**settings)
    finally:
        optuna.logging.set_verbosity(level)


def created_study(
    name: str, folder: Path, storage: str | None, store: BaseStorage | None = None
) -> optuna.Study | None:
    """Open a study that has trials; None when there is none yet.

    Args:
        name: Of the study.
        folder: Its folder.
        storage: URL, None for the store in the folder.
        store: That store, where it is open already.
    """
    try:
        study = optuna.load_study(study_name=name, storage=store or open_storage(storage, folder, must_exist=True))
    except (KeyError, StorageError):  # a broken store is named when the study is opened to be run
        return None
    return study if is_created(study) else None


def find_study(folder: Path, storage: str | None = None) -> optuna.Study:
    """Open the study of a folder for reading; its name is the folder's, or whatever a renamed folder's own store holds.

    Args:
        folder: Of the study.
        storage: URL, None for the store in the folder.

    Raises:
        ConfigError: There is no such study.
    """
    with disk_errors():
        there_is_one = folder.is_dir()
    if not there_is_one:
        raise _no_study(folder)
    if storage is None and not has_store(folder):
        studies = [path.name for path in study_folders(folder)]
        if studies:
            raise ConfigError(
                f"{folder} is no study but holds {len(studies)}: name one of them, such as {folder / studies[0]} "
                f"({', '.join(studies)})."
            )
        raise _no_study(folder)
    return only_study(open_storage(storage, folder, must_exist=True), folder, storage)


def _no_study(folder: Path) -> ConfigError:
    beside = ", ".join(path.name for path in study_folders(folder.parent))
    there = f" {folder.parent} holds {beside}." if beside else ""
    return ConfigError(f"No study at {folder}. Run `study` first, or name the folder of a study.{there}")


def only_study(store: BaseStorage, folder: Path, storage: str | None = None) -> optuna.Study:
    """Load the study of a folder from its opened store (see `find_study`)."""
    name = folder.resolve().name
    names = optuna.get_all_study_names(store)
    if storage is None and len(names) == 1:
        name = names[0]
    if name not in names:
        stored = f"it holds {', '.join(names)}" if names else "it holds none"
        raise ConfigError(f"The storage holds no study named {name!r}, the name of the folder ({stored}).")
    return optuna.load_study(study_name=name, storage=store)


def stored_meshhead(study: optuna.Study) -> Path | None:
    """MeshHead checkpoint that a study's trials start from, None where they start from none.

    Raises:
        ConfigError: It is gone.
    """
    return _still_there(study, stored_config(study).starts_from, "starts from the MeshHead", "--meshhead")


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
    """What `stored_config` gives; None where it rejects: studies of others and of other versions have results, too."""
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

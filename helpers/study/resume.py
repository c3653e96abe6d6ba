"""What a spec finds where its study was created before: trials that new ones can be compared with, or nothing left to do.

Torch and plotly are not needed for either.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from helpers.results.lookup import created_study
from helpers.results.tables import HTML_FILE, save_results
from helpers.results.trial_states import count_finished
from helpers.storage.backends import open_storage
from helpers.storage.location import has_store, require_plain
from helpers.study.checkpoints import remove_old_checkpoints, sweep
from helpers.study.compatibility import require_compatible
from helpers.study.spec import StudySpec
from helpers.utils.disk import DiskError, disk_problem

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
        "study %s has %d finished trials, %d are asked for: nothing to add",
        study.study_name,
        done,
        spec.study.trials,
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


def save(study: optuna.Study, spec: StudySpec) -> None:
    """Write the results and make room.

    Raises:
        DiskError: They cannot be written; the trials themselves are in the storage.
    """
    try:
        sweep(spec.folder)
        save_results(study, spec.folder)
    except OSError as error:
        raise DiskError(disk_problem(error) or f"The results cannot be written: {error}.") from error
    if spec.study.keep_best is not None:
        remove_old_checkpoints(study, spec.folder, spec.study.keep_best)
    spec.save_snapshot()

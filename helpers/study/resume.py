"""What a request finds where its study was begun before: trials that new ones can be compared with, or nothing left to do.

Torch and plotly are not needed for either.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import optuna

from helpers.results.lookup import begun_study
from helpers.results.tables import HTML_FILE, save_results
from helpers.results.trial_states import count_finished
from helpers.storage.store_places import require_plain
from helpers.study.checkpoints import sweep, thin
from helpers.study.compatibility import require_same
from helpers.study.spec import StudyRequest
from helpers.utils.disk import DiskError, disk_problem

logger = logging.getLogger(__name__)


def comparable_study(request: StudyRequest) -> optuna.Study | None:
    """Open the study of a request, None where it is new; one whose trials could not be compared with new ones is refused.

    Raises:
        ConfigError: With what differs.
        StorageError: The study's folder holds links.
    """
    require_plain(request.folder)
    study = begun_study(request.study.study_name, request.folder, request.storage)
    if study is not None:
        require_same(study, request.study, request.monitored())
    return study


def complete_study(request: StudyRequest) -> optuna.Study | None:
    """Open the study of a request where it has all trials that are asked for, and see to its tables.

    The stored study stays as it is, with what searched it and why it ended.

    Raises:
        ConfigError: Its trials could not be compared with new ones.
        DiskError: The tables cannot be written.
    """
    study = comparable_study(request)
    done = 0 if study is None else count_finished(study)
    if study is None or done < request.study.trials:
        return None
    save(study, request)
    logger.info(
        "study %s has %d finished trials, %d are asked for: nothing to add",
        study.study_name,
        done,
        request.study.trials,
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


def save(study: optuna.Study, request: StudyRequest) -> None:
    """Write the results and make room.

    Raises:
        DiskError: They cannot be written; the trials themselves are in the storage.
    """
    try:
        sweep(request.folder)
        save_results(study, request.folder)
    except OSError as error:
        raise DiskError(disk_problem(error) or f"The results cannot be written: {error}.") from error
    if request.study.keep_best is not None:
        thin(study, request.folder, request.study.keep_best)
    request.save_snapshot()

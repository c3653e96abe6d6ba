"""The loop over the trials of a study, for a process that works alone or as one of several.

`trials` counts finished trials (complete and pruned) in total. A process that finds all that are left running elsewhere
waits: one of them may fail, or its process die, and then there is a place again.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError, first_line
from gazegaussian.utils.counts import counted
from gazegaussian.utils.interrupts import raise_if_interrupted
from gazegaussian.utils.signs_of_life import resting
from helpers.results.attributes import LOST, REASON, RESUME_OF
from helpers.results.trial_states import count_finished, is_created
from helpers.search.samplers_and_pruners import study_pruner
from helpers.storage.backends import open_storage
from helpers.study.heartbeat import all_owned
from helpers.study.resume import require_compatible, save, store_search, store_settings
from helpers.study.spec import StudySpec
from helpers.study.stop import BudgetWatch, LimitReached, StopKind, StopReason
from helpers.study.trial import run_trial, trials_left
from helpers.study.trial_files import expected_bytes
from helpers.utils.files import require_space

logger = logging.getLogger(__name__)

# seconds between two looks at trials of others
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


def open_study(spec: StudySpec, config: RunConfig, store: BaseStorage | None = None) -> optuna.Study:
    """Create the study or open it again.

    Args:
        spec: Which study, and where.
        config: The run configuration that its trials start from.
        store: Where the study is; default: its store is opened.

    Raises:
        ConfigError: The stored study's trials could not be compared, or the storage cannot be opened.
    """
    study_file = spec.study
    storage = store or open_storage(spec.storage, spec.folder)
    names = [] if spec.storage else optuna.get_all_study_names(storage)
    if names and study_file.study_name not in names:  # its trials' folders would be overwritten
        raise ConfigError(
            f"{spec.folder} holds the study {names[0]!r}: the folder was renamed or copied. Rename it to {names[0]!r}, "
            "or give another --study-name."
        )
    try:
        study = optuna.create_study(
            study_name=study_file.study_name,
            storage=storage,
            directions=study_file.directions,
            pruner=study_pruner(study_file, config.training.epochs),
            load_if_exists=True,
        )
    except ValueError as error:  # such as another number of objectives under the same name
        raise ConfigError(f"Cannot open study {study_file.study_name!r}: {first_line(error)}") from error
    if is_created(study):
        require_compatible(study, study_file, config)
        store_search(study, study_file, config)
    else:
        store_settings(study, study_file, config)
    return study


def run_trials(study: optuna.Study, spec: StudySpec, config: RunConfig, watch: BudgetWatch) -> StopReason:
    """Run trials until there are enough or a limit is met.

    Returns:
        Why no more are run.

    Raises:
        RuntimeError: Too many trials failed in a row, those of other workers counted.
        UserError: See `run_trial`.
    """
    target = spec.study.trials
    pause = FIRST_PAUSE
    earlier = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
    while count_finished(study) < target:
        raise_if_interrupted()
        limit = watch.reached(study)
        trials = study.get_trials(deepcopy=False)
        if limit is None and trials_left(trials, target) <= 0 and all_owned(trials, spec.one_machine):
            if pause == FIRST_PAUSE:
                logger.info("waiting: other workers run the remaining trials")
            # Workers beside this one give their own signs of life.
            with resting() if spec.worker is not None else nullcontext():
                time.sleep(pause * random.uniform(0.5, 1))  # many workers do not look all at once
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        pause = FIRST_PAUSE
        if limit is None:
            require_space(spec.folder, expected_bytes(spec.folder))
            try:
                run_trial(study, spec, config, watch)
            except LimitReached as reached:
                limit = reached.reason
        if spec.worker is None:
            save(study, spec)
        if limit is not None:
            return replace(limit, text=f"{limit} with {counted(count_finished(study), 'finished trial')} of {target}")
        failed = failures_in_a_row(study, earlier)
        if len(failed) >= spec.study.max_failures:
            reason = failed[0].user_attrs.get(REASON, "unknown")
            raise RuntimeError(
                f"{counted(len(failed), 'trial')} failed in a row, the last one: {reason}. The study stops here."
            )
    return all_finished(target)


def all_finished(target: int) -> StopReason:
    """Reason of a study that has all its trials."""
    return StopReason(
        StopKind.FINISHED, "the only trial is finished" if target == 1 else f"all {target} trials are finished"
    )


def failures_in_a_row(study: optuna.Study, earlier: set[int]) -> list[FrozenTrial]:
    """Find the trials that failed last without one that did not, the latest first.

    Args:
        study: Whose trials, of all workers.
        earlier: Numbers of trials that do not count.
    """
    trials = study.get_trials(deepcopy=False)
    resumed = {trial.user_attrs.get(RESUME_OF) for trial in trials}
    ended = [
        trial
        for trial in trials
        if trial.datetime_complete is not None
        and trial.number not in earlier
        and trial.number not in resumed  # interrupted, which is no failure
        and trial.user_attrs.get(REASON) != LOST
    ]
    ended.sort(key=lambda trial: trial.datetime_complete, reverse=True)  # type: ignore[arg-type, return-value]
    return list(takewhile(lambda trial: trial.state == TrialState.FAIL, ended))

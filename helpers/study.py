"""Runs a study: our own ask/tell loop around `gazegaussian.build.train_run`.

`trials` counts finished trials (complete and pruned) in total, so the same command resumes a study, and running it again
when it is finished adds nothing.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.trial import TrialState

from gazegaussian.build import preflight, train_run
from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, UserError
from helpers.budget import BudgetWatch, LimitReached
from helpers.isolation import Train
from helpers.keep import DiskError, disk_problem, expected_bytes, require_space, require_writable, sweep, thin
from helpers.live_store import snapshots_of
from helpers.ownership import BASELINE, REASON, RESUME_OF, reap
from helpers.pruning import study_pruner
from helpers.records import STOP_REASON, WANTED, begun_study, is_begun, note_environment, remember, require_same
from helpers.results import save_results
from helpers.sampling import study_sampler
from helpers.search_space import StudyFile, baseline, check_space
from helpers.stopping import forget_stop
from helpers.storage import open_storage
from helpers.trial import run_trial, trial_folder

__all__ = ["StudyRequest", "Train", "open_study", "run_study", "trial_folder"]

logger = logging.getLogger(__name__)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class StudyRequest:
    """Everything that a study needs."""

    config: RunConfig
    study: StudyFile
    out: Path = Path("optuna_results")
    storage: str | None = field(default=None, repr=False)  # a URL may hold a password
    timeout: float | None = None  # seconds of one call, instead of the budget's
    train: Train = train_run
    check: Callable[[RunConfig], None] = preflight
    isolate: bool = False  # every trial in a process of its own

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.out / self.study.study_name

    def save_snapshot(self) -> None:
        """Copy a database that lives elsewhere into the study's folder."""
        copies = None if self.storage else snapshots_of(self.folder)
        if copies is not None:
            copies.save()


def open_study(request: StudyRequest, config: RunConfig) -> optuna.Study:
    """Create the study or open it again.

    Args:
        request: Which study, and where.
        config: The run configuration that its trials start from.

    Raises:
        ConfigError: The stored study's trials could not be compared, or the storage cannot be opened.
    """
    study_file = request.study
    storage = open_storage(request.storage, request.folder)
    held = [] if request.storage else optuna.get_all_study_names(storage)
    if held and study_file.study_name not in held:  # its trials' folders would be overwritten
        raise ConfigError(
            f"{request.folder} holds the study {held[0]!r}: the folder was renamed or copied. Rename it to {held[0]!r}, "
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
        first = str(error).splitlines()[0]
        raise ConfigError(f"Cannot open study {study_file.study_name!r}: {first}") from error
    if is_begun(study):
        require_same(study, study_file, config)
    else:
        remember(study, study_file, config)
    return study


def require_comparable(request: StudyRequest) -> None:
    """Refuse a request whose trials could not be compared with those its study has, before anything is spent.

    Raises:
        ConfigError: With what differs.
    """
    study = begun_study(request.study.study_name, request.folder, request.storage)
    if study is not None:
        require_same(study, request.study, _monitored(request))


def finished_trials(study: optuna.Study) -> int:
    """Count complete and pruned trials."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def fresh_trials(study: optuna.Study) -> int:
    """Count the trials whose parameters were chosen for them, which those that continue an interrupted one are not.

    A sampler seeded with it proposes the same after any interruption as without one.
    """
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state != TrialState.WAITING and RESUME_OF not in trial.user_attrs for trial in trials)


def run_study(request: StudyRequest, forget_stops: bool = True) -> optuna.Study:
    """Run or resume a study up to its number of finished trials, to a limit of its budget, or until `stop` asks.

    Args:
        request: What to run and where.
        forget_stops: False where the caller has forgotten them earlier: one that came since then counts.

    Returns:
        The study; results are on disk beside its trials, and its attribute `stop_reason` says why it ended.

    Raises:
        UserError: Configuration, data, checkpoint, disk or storage cannot be used; nothing finished is lost.
        RuntimeError: Too many trials failed in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the trial is queued again for the next run.
    """
    config = _monitored(request)
    start_values = baseline(request.study, config)
    check_space(request.study, config)
    request.check(config)
    require_writable(request.folder)
    if forget_stops:
        forget_stop(request.folder)
    study = open_study(request, config)
    try:
        with sigterm_interrupts():
            one_machine = not request.storage and snapshots_of(request.folder) is not None
            reap(study, one_machine)
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(start_values, user_attrs={BASELINE: True})
            reason = _run_trials(study, request, config)
    except BaseException as error:
        _note_stop(study, request, "interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
        raise
    _note_stop(study, request, reason)
    return study


def _run_trials(study: optuna.Study, request: StudyRequest, config: RunConfig) -> str:
    """Run trials until there are enough or a limit is met; returns why no more are run."""
    target, done = request.study.trials, finished_trials(study)
    if done >= target:
        _save(study, request)
        return f"already has {done} finished trials of {target}: nothing to add"
    study.set_user_attr(STOP_REASON, "not stopped: running, or killed")
    study.set_user_attr(WANTED, target)
    note_environment(study, config)
    watch = BudgetWatch(request.study.budget, request.timeout, request.folder)
    failures = 0
    while finished_trials(study) < target:
        limit = watch.reached(study)
        if limit is None:
            require_space(request.folder, expected_bytes(request.folder))
            study.sampler = study_sampler(request.study, fresh_trials(study))
            try:
                state = run_trial(study, request, config, watch)
            except LimitReached as reached:
                limit = str(reached)
        if limit is not None:
            _save(study, request)
            return f"{limit} with {finished_trials(study)} finished trials of {target}"
        reap(study)  # one asked for just before a kill is too young at the start
        failures = failures + 1 if state == TrialState.FAIL else 0
        _save(study, request)
        if failures >= request.study.max_failures:
            reason = study.trials[-1].user_attrs.get(REASON, "unknown")
            raise RuntimeError(f"{failures} trials failed in a row, the last one: {reason}. The study stops here.")
    return f"all {target} trials are finished"


def _save(study: optuna.Study, request: StudyRequest) -> None:
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


def _note_stop(study: optuna.Study, request: StudyRequest, reason: str) -> None:
    """Say why the study ends, here and in the storage."""
    line = next(iter(reason.splitlines()), "unknown")
    logger.info("study %s stops: %s", study.study_name, line)
    try:
        study.set_user_attr(STOP_REASON, line)
        request.save_snapshot()
    except UserError as error:  # the storage itself may be the reason
        logger.warning("why the study stopped cannot be stored: %s", error)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's request to end) like Ctrl-C while a `with` block lasts; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _monitored(request: StudyRequest) -> RunConfig:
    """The run configuration with the study's epochs and first metric."""
    mode = "min" if request.study.directions[0] == "minimize" else "max"
    changes: dict[str, Any] = {"monitor": request.study.metrics[0], "monitor_mode": mode}
    if request.study.epochs is not None:
        changes["epochs"] = request.study.epochs
    return with_parameters(request.config, changes)

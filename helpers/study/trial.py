"""One trial: ask, train, tell. Whatever happens, the trial ends in a state that says so."""

from __future__ import annotations

import gc
import logging
import os
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, UserError, class_and_line
from gazegaussian.training.step import resolve_device
from gazegaussian.training.trainer import TrainResult
from gazegaussian.utils.interrupts import interrupted
from helpers.results.artifacts import attach
from helpers.results.attributes import REASON, RESUME_OF, SECONDS
from helpers.results.trial_states import FINISHED, usage_before
from helpers.search.samplers_and_pruners import study_sampler
from helpers.search.trial_names import name_trial, plain_name, tag
from helpers.storage.locks import study_lock
from helpers.study.heartbeat import all_owned, claimed, requeue, requeue_lost
from helpers.study.report_hook import PruningHook, TrialFailure, TrialReporter
from helpers.study.spec import StudySpec
from helpers.study.stop import BudgetWatch, LimitReached
from helpers.study.trial_files import TrialFiles, copy_checkpoint
from helpers.utils.files import DiskError, disk_problem

logger = logging.getLogger(__name__)

_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def run_trial(study: optuna.Study, spec: StudySpec, config: RunConfig, watch: BudgetWatch) -> TrialState | None:
    """Run one trial.

    Args:
        study: Where to ask and tell.
        spec: What is searched, where trials land, how to train.
        config: The run configuration that the trial's parameters are put into.
        watch: Limits of the study.

    Returns:
        How the trial ended; None when none was started, since other workers run all that are left.

    Raises:
        LimitReached: The study may spend no more; the trial, if one was started, is queued again.
        KeyboardInterrupt: Ctrl-C; the trial is queued again.
        UserError: Nothing that another trial would do better; except for a rejected configuration it is queued again.
    """
    with ExitStack() as stack, ExitStack() as alone:
        alone.enter_context(study_lock(study, spec.folder))
        trials = _closed(study, spec)
        trial = _admitted(study, spec, watch, trials)
        if trial is None:
            return None
        stack.enter_context(claimed(trial, spec.worker))
        before = usage_before(trials, trial, spec.folder)
        files = TrialFiles(spec)
        reporter = TrialReporter(
            study, trial, spec.study, config.training.epochs, watch, spec.folder, before, partial(_save, files, spec)
        )
        folder = spec.folder / plain_name(trial)
        try:
            parameters = spec.study.suggest(trial)
            folder = spec.folder / name_trial(study, trial, spec.namer)
            watch.begin(trial, before.epochs)
            alone.close()  # the next worker sees the parameters, and so proposes others
            chosen = ", ".join(f"{name}={_short(value)}" for name, value in parameters.items())
            old = trial.user_attrs.get(RESUME_OF)
            logger.info("%s%s: %s", tag(trial), "" if old is None else f" (resumes trial {old})", chosen)
            trial.set_user_attr("folder", str(folder))
            trial_config = with_parameters(config, parameters, f"trial {trial.number}")
            work = files.begin(folder)
            resume = copy_checkpoint(trials, trial, spec.folder, work)
            with files.brought():
                result = _train(spec, trial_config, work, resume, reporter)
            values = reporter.values(result)
            state = _tell_complete(study, trial, reporter, result, values, folder)
        except optuna.TrialPruned as pruned:
            state = _tell_pruned(study, trial, reporter, folder, str(pruned))
        except UpdateFinishedTrialError:
            state = _taken_over(trial)
        except BaseException as error:
            # C++ code may have made another error of an interrupt, which is not the trial's fault.
            cause = KeyboardInterrupt() if interrupted() else error
            state = _after_error(study, spec, trial, reporter, cause, folder)
    if state not in FINISHED:
        release_memory()  # out here the error, and with it the frames that held tensors, is gone
    return state


def _closed(study: optuna.Study, spec: StudySpec) -> list[FrozenTrial]:
    """Queue the trials of dead processes again; returns all trials. Reading them is what the lock is held for longest."""
    trials = study.get_trials(deepcopy=False)
    if all_owned(trials, spec.one_machine):
        return trials
    requeue_lost(study, spec.one_machine, max_deaths=spec.max_deaths)
    return study.get_trials(deepcopy=False)


def _admitted(
    study: optuna.Study, spec: StudySpec, watch: BudgetWatch, trials: list[FrozenTrial]
) -> optuna.Trial | None:
    """Ask for a trial, if there is a place for one more; call it under the study's lock."""
    if trials_left(trials, spec.study.trials) <= 0:
        return None
    limit = watch.overspent(study)
    if limit is not None:
        raise LimitReached(limit)
    study.sampler = study_sampler(spec.study, fresh_trials(trials))
    return study.ask()


def trials_left(trials: list[FrozenTrial], wanted: int) -> int:
    """Count the trials that may begin: running ones are expected to finish."""
    return wanted - sum(trial.state in (*FINISHED, TrialState.RUNNING) for trial in trials)


def fresh_trials(trials: list[FrozenTrial]) -> int:
    """Count freshly sampled trials; resumed trials reuse old parameters.

    A sampler seeded with it proposes the same after any interruption as without one.
    """
    return sum(trial.state != TrialState.WAITING and RESUME_OF not in trial.user_attrs for trial in trials)


def isolated_by_default(config: RunConfig) -> bool:
    """Tell whether trainings of a configuration need it: a CUDA error spoils the process that it happens in.

    Raises:
        DeviceError: The configured device is not there.
    """
    return resolve_device(config.training.device).type == "cuda"


def _save(files: TrialFiles, spec: StudySpec) -> None:
    """Bring what an epoch left to the study's folder, files first: the snapshot says what is there."""
    files.epoch()
    spec.save_snapshot()


def _train(spec: StudySpec, config: RunConfig, folder: Path, resume: bool, reporter: TrialReporter) -> TrainResult:
    apart = isolated_by_default(config) if spec.isolate is None else spec.isolate
    if apart:
        from helpers.study.isolation import train_isolated

        return train_isolated(spec.train, config, folder, resume, reporter)
    return spec.train(config, folder, [PruningHook(reporter)], resume)


def _tell_pruned(
    study: optuna.Study, trial: optuna.Trial, reporter: TrialReporter, folder: Path, why: str
) -> TrialState:
    _note(trial, reporter, folder)
    _attach(trial, reporter, folder)
    first = reporter.file.metrics[0]
    choose: Callable[..., Any] = min if reporter.file.directions[0] == "minimize" else max
    if reporter.rows:
        reporter.set_constraints(choose(reporter.rows, key=lambda row: row[first]))
    study.tell(trial, state=TrialState.PRUNED)
    logger.info("%s %s", tag(trial), why)
    return TrialState.PRUNED


def _tell_complete(
    study: optuna.Study,
    trial: optuna.Trial,
    reporter: TrialReporter,
    result: TrainResult,
    values: list[float],
    folder: Path,
) -> TrialState:
    _note(trial, reporter, folder)
    _attach(trial, reporter, folder)
    if result.stop_reason:
        trial.set_user_attr("stop_reason", result.stop_reason)
    study.tell(trial, values)
    shown = ", ".join(f"{name} {value:.5f}" for name, value in zip(reporter.file.metrics, values, strict=True))
    logger.info("%s finished: %s", tag(trial), shown)
    return TrialState.COMPLETE


def _taken_over(trial: optuna.Trial) -> TrialState:
    """Another process took this one for dead (a suspended machine, a cut network) and has queued the trial again."""
    logger.warning(
        "%s was closed by another process, which took this one for dead: its epochs since then are dropped", tag(trial)
    )
    return TrialState.RUNNING


def _after_error(
    study: optuna.Study,
    spec: StudySpec,
    trial: optuna.Trial,
    reporter: TrialReporter,
    error: BaseException,
    folder: Path,
) -> TrialState:
    """Fail the trial when it alone is to blame; else queue it again and let the study stop."""
    try:
        with study_lock(study, spec.folder):
            _note(trial, reporter, folder)
            return _close(study, trial, error, reporter, folder)
    except UpdateFinishedTrialError:
        if isinstance(error, Exception) and not isinstance(error, LimitReached | UserError):
            return _taken_over(trial)
        raise error from None


def _close(
    study: optuna.Study, trial: optuna.Trial, error: BaseException, reporter: TrialReporter, folder: Path
) -> TrialState:
    frozen = study.get_trials(deepcopy=False)[trial.number]
    if isinstance(error, KeyboardInterrupt | SystemExit):
        requeue(study, frozen, "interrupted")
        logger.info("%s: interrupted, re-queued", tag(trial))
        raise error
    if isinstance(error, LimitReached):
        requeue(study, frozen, f"not finished: {error}")
        logger.info("%s: re-queued: %s", tag(trial), error)
        raise error
    reason = _described(error)
    disk = disk_problem(error)
    if disk is not None:
        requeue(study, frozen, reason)
        raise DiskError(disk) from error
    if isinstance(error, UserError) and not isinstance(error, ConfigError):
        requeue(study, frozen, reason)  # repaired data or a device that is back let this trial resume
        raise error
    expected = isinstance(error, NonFiniteError | TrialFailure | UserError) or is_out_of_memory(error)
    if not expected:
        logger.error("%s: unexpected error", tag(trial), exc_info=error)
    trial.set_user_attr(REASON, reason)
    _attach(trial, reporter, folder)
    study.tell(trial, state=TrialState.FAIL)
    if isinstance(error, ConfigError):  # the same parameters would meet the same rejection
        raise error
    logger.warning("%s failed: %s", tag(trial), reason)
    traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed step
    return TrialState.FAIL


def _described(error: BaseException) -> str:
    """Reason of a failure on one line."""
    if isinstance(error, TrialFailure):
        return str(error)
    if is_out_of_memory(error):
        return f"out of memory, use batch_size 1 or a smaller model ({class_and_line(error)})"
    return class_and_line(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the device or the system had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MEMORY_TEXTS)


def release_memory() -> None:
    """Give back what a failed training held on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _note(trial: optuna.Trial, reporter: TrialReporter, folder: Path) -> None:
    """Store what the trial took and left."""
    trial.set_user_attr(SECONDS, reporter.seconds)
    for name in ("best", "last"):
        if os.path.isfile(folder / f"{name}.pt"):
            trial.set_user_attr(f"{name}_checkpoint", str((folder / f"{name}.pt").resolve()))


def _attach(trial: optuna.Trial, reporter: TrialReporter, folder: Path) -> None:
    attach(trial, folder, reporter.file.metrics[0], reporter.file.directions[0] == "minimize")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

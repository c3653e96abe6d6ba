"""One trial: ask, train, tell. Whatever happens, the trial ends in a state that says so."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.trial import TrialState

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, UserError
from gazegaussian.training.trainer import TrainResult
from helpers.artifacts import attach
from helpers.budget import BudgetWatch, LimitReached, spent_before
from helpers.isolation import train_isolated
from helpers.keep import DiskError, disk_problem, take_over
from helpers.naming import name_trial, plain_name, tag
from helpers.ownership import REASON, SECONDS, claimed, requeue
from helpers.referee import Referee, RefereeHook, TrialFailure

if TYPE_CHECKING:
    from helpers.study import StudyRequest

logger = logging.getLogger(__name__)

_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def run_trial(study: optuna.Study, request: StudyRequest, config: RunConfig, watch: BudgetWatch) -> TrialState:
    """Run one trial.

    Args:
        study: Where to ask and tell.
        request: What is searched, where trials land, how to train.
        config: The run configuration that the trial's parameters are put into.
        watch: Limits of the study.

    Returns:
        How the trial ended.

    Raises:
        LimitReached: The study may spend no more; the trial is queued again.
        KeyboardInterrupt: Ctrl-C; the trial is queued again.
        UserError: Nothing that another trial would do better; except for a refused configuration it is queued again.
    """
    trial = study.ask()
    with claimed(trial):
        trials = study.get_trials(deepcopy=False)
        before = spent_before(trials, trial)
        referee = Referee(
            study, trial, request.study, config.training.epochs, watch, request.folder, before, request.save_snapshot
        )
        folder = request.folder / plain_name(trial)
        try:
            parameters = request.study.suggest(trial)
            folder = request.folder / name_trial(study, trial, request.namer)
            logger.info("%s: %s", tag(trial), ", ".join(f"{k}={_short(v)}" for k, v in parameters.items()))
            trial.set_user_attr("folder", str(folder))
            trial_config = with_parameters(config, parameters, f"trial {trial.number}")
            resume = take_over(trials, trial, request.folder, folder)
            result = _train(request, trial_config, folder, resume, referee)
            values = referee.values(result)
        except optuna.TrialPruned as pruned:
            return _tell_pruned(study, trial, referee, folder, str(pruned))
        except BaseException as error:
            _note(trial, referee, folder)
            state = _after_error(study, trial, error, referee, folder)
        else:
            _note(trial, referee, folder)
            _attach(trial, referee, folder)
            return _tell_complete(study, trial, referee, result, values)
    release_memory()  # out here the error, and with it the frames that held tensors, is gone
    return state


def _train(request: StudyRequest, config: RunConfig, folder: Path, resume: bool, referee: Referee) -> TrainResult:
    if request.isolate:
        return train_isolated(request.train, config, folder, resume, referee)
    return request.train(config, folder, [RefereeHook(referee)], resume)


def _tell_pruned(study: optuna.Study, trial: optuna.Trial, referee: Referee, folder: Path, why: str) -> TrialState:
    _note(trial, referee, folder)
    _attach(trial, referee, folder)
    first = referee.file.metrics[0]
    choose: Callable[..., Any] = min if referee.file.directions[0] == "minimize" else max
    if referee.rows:
        referee.set_constraints(choose(referee.rows, key=lambda row: row[first]))
    study.tell(trial, state=TrialState.PRUNED)
    logger.info("%s %s", tag(trial), why)
    return TrialState.PRUNED


def _tell_complete(
    study: optuna.Study, trial: optuna.Trial, referee: Referee, result: TrainResult, values: list[float]
) -> TrialState:
    trial.set_user_attr("best_epoch", result.best_epoch)
    if result.stop_reason:
        trial.set_user_attr("stop_reason", result.stop_reason)
    study.tell(trial, values)
    shown = ", ".join(f"{name} {value:.5f}" for name, value in zip(referee.file.metrics, values, strict=True))
    logger.info("%s finished: %s", tag(trial), shown)
    return TrialState.COMPLETE


def _after_error(
    study: optuna.Study, trial: optuna.Trial, error: BaseException, referee: Referee, folder: Path
) -> TrialState:
    """Fail the trial when it alone is to blame; else queue it again and let the study stop."""
    frozen = study.get_trials(deepcopy=False)[trial.number]
    if isinstance(error, KeyboardInterrupt | SystemExit):
        requeue(study, frozen, "interrupted")
        logger.info("%s was interrupted; its parameters are queued again", tag(trial))
        raise error
    if isinstance(error, LimitReached):
        requeue(study, frozen, f"not finished: {error}")
        logger.info("%s is queued again: %s", tag(trial), error)
        raise error
    reason = _described(error)
    disk = disk_problem(error)
    if disk is not None:
        requeue(study, frozen, reason)
        raise DiskError(disk) from error
    if isinstance(error, UserError) and not isinstance(error, ConfigError):
        requeue(study, frozen, reason)  # repaired data or a device that is back let this trial go on
        raise error
    expected = isinstance(error, NonFiniteError | TrialFailure | UserError) or is_out_of_memory(error)
    if not expected:
        logger.error("%s met an error that is not the input's", tag(trial), exc_info=error)
    trial.set_user_attr(REASON, reason)
    _attach(trial, referee, folder)
    study.tell(trial, state=TrialState.FAIL)
    if isinstance(error, ConfigError):  # the same parameters would meet the same refusal
        raise error
    logger.warning("%s failed: %s", tag(trial), reason)
    traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed step
    return TrialState.FAIL


def _described(error: BaseException) -> str:
    """Reason of a failure on one line."""
    if isinstance(error, TrialFailure):
        return str(error)
    text = next(iter(str(error).splitlines()), "")
    if is_out_of_memory(error):
        return f"out of memory, use batch_size 1 or a smaller model ({type(error).__name__}: {text})"
    return f"{type(error).__name__}: {text}"


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


def _note(trial: optuna.Trial, referee: Referee, folder: Path) -> None:
    """Store what the trial took and left."""
    trial.set_user_attr(SECONDS, referee.seconds)
    for name in ("best", "last"):
        if (folder / f"{name}.pt").exists():
            trial.set_user_attr(f"{name}_checkpoint", str((folder / f"{name}.pt").resolve()))


def _attach(trial: optuna.Trial, referee: Referee, folder: Path) -> None:
    attach(trial, folder, referee.file.metrics[0], referee.file.directions[0] == "minimize")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

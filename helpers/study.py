"""Runs a study: our own ask/tell loop around `gazegaussian.build.train_run`.

`trials` counts finished trials (complete and pruned) in total, so the same command resumes a study, and running it again
when it is finished adds nothing.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from gazegaussian.build import preflight, train_run
from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, UserError
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TrainResult
from helpers.budget import SPENT, BudgetHook, BudgetSpentError, TrialTimeoutError, exhausted
from helpers.ownership import BASELINE, OWNER, REASON, RESUME_OF, current_owner, reap, requeue
from helpers.pruning import PruningHook, study_pruner
from helpers.results import save_results
from helpers.sampling import make_sampler
from helpers.search_space import StudyFile, baseline, check_space
from helpers.storage import open_storage

logger = logging.getLogger(__name__)

FINGERPRINT, STAGE, METRIC, CONFIG, STOP_REASON = "fingerprint", "stage", "metric", "config", "stop_reason"
# Fields that may change between two calls without making trials incomparable.
RUNTIME_FIELDS = {"device", "workers", "threads", "preview_images", "cache"}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

Train = Callable[[RunConfig, Path, Sequence[Hook], bool], TrainResult]


@dataclass(frozen=True)
class StudyRequest:
    """Everything that a study needs."""

    config: RunConfig
    study: StudyFile
    out: Path = Path("optuna_results")
    storage: str | None = None
    timeout: float | None = None
    train: Train = train_run
    check: Callable[[RunConfig], None] = preflight

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.out / self.study.study_name


def open_study(request: StudyRequest, config: RunConfig) -> optuna.Study:
    """Create the study or open it again.

    Args:
        request: Which study, and where.
        config: The run configuration that its trials start from.

    Raises:
        ConfigError: The stored study searches another space or another metric, or the storage cannot be opened.
    """
    study_file = request.study
    request.folder.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            study_name=study_file.study_name,
            storage=open_storage(request.storage, request.folder),
            directions=study_file.directions,
            pruner=study_pruner(study_file, config.training.epochs),
            load_if_exists=True,
        )
    except ValueError as error:  # such as another number of objectives under the same name
        first = str(error).splitlines()[0]
        raise ConfigError(f"Cannot open study {study_file.study_name!r}: {first}") from error
    # The same seed again would repeat the first suggestions after a restart.
    study.sampler = make_sampler(study_file.sampler, study_file.seed + 1000 * len(study.trials), study_file)
    stored = study.user_attrs.get(FINGERPRINT)
    if stored is None:
        study.set_user_attr(STAGE, config.stage)
        study.set_user_attr(METRIC, study_file.metric)
        study.set_user_attr(CONFIG, config.model_dump_json())
        study.set_user_attr(FINGERPRINT, study_file.fingerprint())  # last: a kill before it repeats all of them
        return study
    if study.user_attrs[STAGE] != config.stage:
        raise ConfigError(
            f"Study {study_file.study_name!r} tunes stage {study.user_attrs[STAGE]}, not {config.stage}. Give another "
            "--study-name."
        )
    if stored != study_file.fingerprint():
        raise ConfigError(
            f"Study {study_file.study_name!r} was begun with another search space, metric or direction "
            f"({'; '.join(study_file.differences(stored))}). Give another --study-name, or the study file it was begun "
            "with."
        )
    changed = _changed_fields(json.loads(study.user_attrs.get(CONFIG, "{}")), config)
    if changed:
        logger.warning(
            "study %s was begun with another configuration (%s): its trials are not comparable with the coming ones; "
            "another --study-name keeps them apart",
            study.study_name,
            "; ".join(changed),
        )
    return study


def _changed_fields(stored: dict[str, Any], config: RunConfig) -> list[str]:
    """Name the fields that differ from a stored run configuration, as `field: stored -> here`."""
    now = json.loads(config.model_dump_json())
    changed = []
    for section in [name for name in now if name in stored]:
        old, new = ({section: c[section]} if not isinstance(c[section], dict) else c[section] for c in (stored, now))
        names = [name for name in new if name not in RUNTIME_FIELDS and name in old and old[name] != new[name]]
        changed += [f"{name}: {old[name]} -> {new[name]}" for name in names]
    return changed


def finished_trials(study: optuna.Study) -> int:
    """Count complete and pruned trials."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def run_study(request: StudyRequest) -> optuna.Study:
    """Run or resume a study up to its number of finished trials.

    Args:
        request: What to run and where.

    Returns:
        The study; results are on disk beside its trials.

    Raises:
        UserError: Configuration, data, checkpoint or storage cannot be used; nothing finished is lost.
        RuntimeError: Too many trials failed in a row.
        KeyboardInterrupt: Ctrl-C; the trial is queued again for the next run.
    """
    config = _monitored(request)
    start_values = baseline(request.study, config)
    check_space(request.study, config)
    request.check(config)
    study = open_study(request, config)
    reap(study)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(start_values, user_attrs={BASELINE: True})
    target, done = request.study.trials, finished_trials(study)
    if done >= target:
        logger.info("study %s already has %d finished trials of %d: nothing to add", study.study_name, done, target)
    limits = [limit for limit in (request.timeout, request.study.budget.timeout) if limit is not None]
    deadline = time.monotonic() + min(limits) if limits else None
    failures = 0
    while finished_trials(study) < target:
        late = deadline is not None and time.monotonic() >= deadline
        reason = f"timeout of {min(limits):.0f} s reached" if late else exhausted(study, request.study.budget)
        if reason is None:
            try:
                state = _run_trial(study, request, config)
            except BudgetSpentError as spent:
                reason = str(spent)
        if reason is not None:
            study.set_user_attr(STOP_REASON, reason)
            logger.info("the study stops with %d finished trials: %s", finished_trials(study), reason)
            break
        reap(study)  # one asked for just before a kill is too young at the start
        failures = failures + 1 if state == TrialState.FAIL else 0
        save_results(study, request.folder)
        _thin_checkpoints(study, request)
        if failures >= request.study.max_failures:
            reason = study.trials[-1].user_attrs.get(REASON, "unknown")
            raise RuntimeError(f"{failures} trials failed in a row, the last one: {reason}. The study stops here.")
    save_results(study, request.folder)
    return study


def _thin_checkpoints(study: optuna.Study, request: StudyRequest) -> None:
    """Delete the checkpoints of pruned trials and of all but the `keep_best` best complete ones."""
    keep = request.study.keep_best
    if keep is None or request.study.multi:
        return
    sign = 1 if request.study.directions[0] == "minimize" else -1
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    kept = {trial.number for trial in sorted(complete, key=lambda t: (sign * float(t.value or 0.0), t.number))[:keep]}
    for trial in finished:
        if trial.number not in kept:
            for name in ("best.pt", "last.pt"):
                (trial_folder(request.folder, trial.number) / name).unlink(missing_ok=True)


def _monitored(request: StudyRequest) -> RunConfig:
    """The run configuration with the study's epochs and metric."""
    mode = "min" if request.study.directions[0] == "minimize" else "max"
    changes: dict[str, Any] = {"monitor": request.study.metrics[0], "monitor_mode": mode}
    if request.study.epochs is not None:
        changes["epochs"] = request.study.epochs
    return with_parameters(request.config, changes)


def trial_folder(folder: Path, number: int) -> Path:
    """Folder of a trial."""
    return folder / f"trial_{number:04d}"


def _run_trial(study: optuna.Study, request: StudyRequest, config: RunConfig) -> TrialState:
    """Ask, train, tell. Whatever happens, the trial ends in a state that says so."""
    trial = study.ask()
    trial.set_user_attr(OWNER, current_owner())
    started = time.monotonic()
    try:
        parameters = request.study.suggest(trial)
        logger.info("trial %d: %s", trial.number, ", ".join(f"{k}={_short(v)}" for k, v in parameters.items()))
        folder = trial_folder(request.folder, trial.number)
        trial.set_user_attr("folder", str(folder))
        trial_config = with_parameters(config, parameters, f"trial {trial.number}")
        resume = _inherit(trial, request.folder, folder)
        hooks: list[Hook] = [BudgetHook(study, trial, request.study.budget, trial_config.training.epochs)]
        if not request.study.multi:  # several objectives cannot be reported
            hooks.append(PruningHook(trial, request.study.metrics[0]))
        result = request.train(trial_config, folder, hooks, resume)
        if result.best_epoch < 0:
            raise NonFiniteError(f"{request.study.metrics[0]} was never finite")
        values = _values(trial, request.study, result)
    except optuna.TrialPruned as pruned:
        _note_checkpoints(study, trial, folder, started)
        study.tell(trial, state=TrialState.PRUNED)
        logger.info("trial %d %s", trial.number, pruned)
        return TrialState.PRUNED
    except BudgetSpentError as error:
        _note_checkpoints(study, trial, folder, started)
        requeue(study, study.trials[trial.number], str(error))
        raise
    except (NonFiniteError, TrialTimeoutError, torch.OutOfMemoryError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if isinstance(error, torch.OutOfMemoryError):
            reason += " - use batch_size 1 or a smaller model"
            torch.cuda.empty_cache()
        _note_checkpoints(study, trial, folder, started)
        return _fail(study, trial, reason)
    except KeyboardInterrupt:
        requeue(study, study.trials[trial.number], "interrupted")
        logger.info("trial %d was interrupted; its parameters are queued again", trial.number)
        raise
    except UserError as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ConfigError):  # the same parameters would meet the same refusal
            _fail(study, trial, reason)
        else:  # repaired data or a device that is back let this trial go on
            requeue(study, study.trials[trial.number], reason)
        raise
    except Exception as error:
        logger.exception("trial %d met an error that is not the input's", trial.number)
        return _fail(study, trial, f"{type(error).__name__}: {error}")
    _note_checkpoints(study, trial, folder, started)
    trial.set_user_attr("best_epoch", result.best_epoch)
    if result.stop_reason:
        trial.set_user_attr("stop_reason", result.stop_reason)
    study.tell(trial, values)
    found = ", ".join(f"{name} {value:.5f}" for name, value in zip(request.study.metrics, values, strict=True))
    logger.info("trial %d finished: %s", trial.number, found)
    return TrialState.COMPLETE


def _values(trial: optuna.Trial, study_file: StudyFile, result: TrainResult) -> list[float]:
    """Objectives of the best epoch (the first objective decides which that is); constraints are stored with the trial.

    Raises:
        ConfigError: An objective or a constrained metric is not measured.
        NonFiniteError: An objective is NaN or infinite there.
    """
    row = result.history[result.best_epoch]
    limits = study_file.limits
    missing = [name for name in (*study_file.metrics, *(limit.metric for limit in limits)) if name not in row]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not measured; measured: {', '.join(sorted(row))}.")
    values = [row[name] for name in study_file.metrics]
    if not all(math.isfinite(value) for value in values):
        raise NonFiniteError(f"{', '.join(study_file.metrics)} is {values} in the best epoch")
    for limit in limits:
        trial.set_constraint(limit.metric, limit.violation(row[limit.metric]))
    return values


def _fail(study: optuna.Study, trial: optuna.Trial, reason: str) -> TrialState:
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL)
    logger.warning("trial %d failed: %s", trial.number, reason)
    return TrialState.FAIL


def _inherit(trial: optuna.Trial, study_folder: Path, folder: Path) -> bool:
    """Take over the checkpoints of the interrupted trial that this one continues."""
    before = trial.user_attrs.get(RESUME_OF)
    if before is None:
        return False
    old = trial_folder(study_folder, before)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("best.pt", "last.pt"):
        if (old / name).exists() and not (folder / name).exists():
            shutil.copy2(old / name, folder / f".{name}.tmp")
            (folder / f".{name}.tmp").replace(folder / name)
    return (folder / "last.pt").exists()


def _note_checkpoints(study: optuna.Study, trial: optuna.Trial, folder: Path, started: float) -> None:
    before = trial.user_attrs.get(RESUME_OF)  # a continued trial has cost what its predecessor has
    earlier = 0.0 if before is None else study.trials[before].user_attrs.get(SPENT, [0, 0.0])[1]
    trial.set_user_attr("seconds", time.monotonic() - started + earlier)
    for name in ("best", "last"):
        if (folder / f"{name}.pt").exists():
            trial.set_user_attr(f"{name}_checkpoint", str((folder / f"{name}.pt").resolve()))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

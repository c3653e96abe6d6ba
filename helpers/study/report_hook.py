"""Decides after every epoch whether a trial continues, for a training in this process and in one of its own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.hardware import hardware_of
from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import TRAINING_TERM, Trainer, TrainResult
from gazegaussian.utils.durations import time_left
from helpers.results.attributes import EPOCHS, HARDWARE, INHERITED, RESUME_OF, SECONDS
from helpers.results.trial_states import FINISHED, Usage, epochs_of, total_usage
from helpers.search.study_config import StudyFile
from helpers.search.trial_names import tag
from helpers.storage.errors import StorageError
from helpers.study.stop import BudgetWatch, LimitReached, epochs_still_ahead
from helpers.study.trial_files import bytes_of_model
from helpers.utils.files import require_space

logger = logging.getLogger(__name__)

Metrics = dict[str, float]
FORECAST_SECONDS = 20.0  # between two looks at the other trials, for the time that the study will still take


class TrialFailure(Exception):
    """Costs this trial alone, as a time limit or a crash of its process does; the text is the reason that is stored."""


class EpochListener(Protocol):
    """What a training asks; each call returns to let it continue, or raises."""

    def start(self, history: list[Metrics], disk_bytes: int, hardware: dict[str, str]) -> None:
        """Called with the epochs of a resumed training, the disk space it will need, and what it computes on."""

    def measured(self, names: list[str]) -> None:
        """Hear before the first epoch which metrics validation measures."""

    def epoch(self, epoch: int, metrics: Metrics) -> None:
        """Called after each epoch, counted from 0."""

    def forecast(self, epochs: int) -> str:
        """Say which trial this is, of which so many epochs are trained, and how long the study will still take."""


class PruningHook(Hook):
    """Reports the epochs of a training to a listener."""

    def __init__(self, listener: EpochListener) -> None:
        self.listener = listener

    def on_fit_start(self, trainer: Trainer) -> None:
        """Report what was trained before."""
        weights = sum(parameter.numel() * parameter.element_size() for parameter in trainer.parameters)
        # A trainer of one's own need not say what it trains on or what it measures.
        hardware = hardware_of(trainer.device, trainer.dtype) if hasattr(trainer, "device") else {}
        self.listener.start(trainer.history, bytes_of_model(weights), hardware)
        names = getattr(trainer, "measured", None)
        if names is not None:
            self.listener.measured(sorted(names))

    def forecast(self, trainer: Trainer, epoch: int) -> str:
        """Name the trial and the study's time left."""
        return self.listener.forecast(epoch + 1)

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Metrics) -> None:
        """Report the epoch."""
        self.listener.epoch(epoch, metrics)


class TrialReporter:
    """Reports to Optuna and keeps the limits of the trial and of the study.

    Args:
        study: Whose trial it is.
        trial: Running.
        study_file: Names objectives, constraints and the trial's own limit.
        epochs: Of a whole trial.
        watch: Limits of the study.
        folder: Of the study, made.
        before: What earlier processes spent on this trial.
        save: Called when an epoch is reported, before anything is decided.
    """

    def __init__(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        study_file: StudyFile,
        epochs: int,
        watch: BudgetWatch,
        folder: Path,
        before: Usage = Usage(),  # noqa: B008  frozen
        save: Callable[[], object] = lambda: None,
    ) -> None:
        self.study = study
        self.trial = trial
        self.file = study_file
        self.epochs = epochs
        self.folder = folder
        self.before = before
        self.rows = list[Metrics]()
        self._save = save
        self._watch = watch
        self._trials = list[FrozenTrial]()  # for the forecast
        self._started = time.monotonic()
        self._read_at = self._started

    @property
    def seconds(self) -> float:
        """Spent on this trial, earlier processes included."""
        return self.before.seconds + time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Until the trial's time limit."""
        limit = self.file.budget.trial_timeout
        return None if limit is None else limit - self.seconds

    def start(self, history: list[Metrics], disk_bytes: int, hardware: dict[str, str]) -> None:
        """Report inherited epochs again and ask the pruner what it would have been asked.

        Pruners that keep notes (successive halving) must see every epoch; only what they say about the last one counts,
        since the trial has gone on after the others.

        Raises:
            optuna.TrialPruned: The training had been killed before it could hear so.
            DiskError: The checkpoints will not fit.
        """
        require_space(self.folder, disk_bytes)
        self._note_hardware(hardware)
        if RESUME_OF in self.trial.user_attrs:
            # An epoch that was saved but not yet reported is inherited, but was not counted before.
            epochs = min(len(history), self.before.epochs)
            self.trial.set_user_attr(INHERITED, {"epochs": epochs, "seconds": self.before.seconds})
            self.trial.set_user_attr(SECONDS, self.seconds)
        if any([self._record(epoch, row) for epoch, row in enumerate(history)][-1:]):
            raise optuna.TrialPruned(f"pruned after epoch {len(history)}")

    def _note_hardware(self, hardware: dict[str, str]) -> None:
        """Store what the trial computes on, and warn when the trial before it was computed on something else."""
        if not hardware:
            return
        trials = self.study.get_trials(deepcopy=False)[: self.trial.number]
        before = next((t for t in reversed(trials) if HARDWARE in t.user_attrs), None)
        self.trial.set_user_attr(HARDWARE, hardware)
        if before is not None and before.user_attrs[HARDWARE] != hardware:
            logger.warning(
                "%s trains on %s, trial %d trained on %s: their values differ by more than their parameters",
                tag(self.trial), _hardware_text(hardware), before.number, _hardware_text(before.user_attrs[HARDWARE]),
            )  # fmt: skip

    def measured(self, names: list[str]) -> None:
        """Check the names of objectives and constraints; terms of the training loss are known after the first epoch.

        Raises:
            ConfigError: One is not measured.
        """
        self._require_measured(names, TRAINING_TERM)

    def epoch(self, epoch: int, metrics: Metrics) -> None:
        """Report an epoch, then decide.

        Raises:
            optuna.TrialPruned: The pruner gives the trial up.
            NonFiniteError: The metric is NaN or infinite; Optuna never sees it, since a NaN is not pruned and an
                infinite value would count as a result.
            TrialFailure: The trial's time is up.
            LimitReached: The study may spend no more.
            ConfigError: An objective or constraint is not measured.
        """
        pruned = self._record(epoch, metrics)
        self.trial.set_user_attr(SECONDS, self.seconds)
        self._save()
        if pruned:
            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}")
        if epoch + 1 >= self.epochs:
            return
        self.check_time()
        reason = self._watch.grant(self.study, self.trial, epoch + 1)
        if reason is not None:
            raise LimitReached(reason)

    def forecast(self, epochs: int) -> str:
        """Name the trial, and how long the study will take at its pace so far, without regard to its budget."""
        try:
            trials = self._recent_trials()
        except StorageError:  # told where the epoch is reported, once it is on disk
            return f"trial {self.trial.number}"
        seen = [
            (trial.state, epochs if trial.number == self.trial.number else epochs_of(trial, self.folder))
            for trial in trials
        ]
        paid = total_usage(trials, self.folder)
        pace = paid.seconds / paid.epochs if paid.seconds and paid.epochs else self.seconds / epochs
        workers = max(1, sum(state == TrialState.RUNNING for state, _ in seen))
        left = pace * epochs_still_ahead(seen, self.file.trials, self.epochs) / workers
        finished = sum(state in FINISHED for state, _ in seen)
        forecast = f", about {time_left(left)} left" if left else ""
        return f"trial {self.trial.number}; study: {finished} of {self.file.trials} finished{forecast}"

    def _recent_trials(self) -> list[FrozenTrial]:
        """All trials as they were at most `FORECAST_SECONDS` ago: short epochs do not read a large study twice each."""
        if not self._trials or time.monotonic() - self._read_at >= FORECAST_SECONDS:
            self._trials = self.study.get_trials(deepcopy=False)
            self._read_at = time.monotonic()
        return self._trials

    def check_time(self) -> None:
        """Keep the trial's own time limit.

        Raises:
            TrialFailure: It is over.
        """
        if self.seconds_left is not None and self.seconds_left <= 0:
            limit = self.file.budget.trial_timeout
            raise TrialFailure(f"trial_timeout of {limit:g} s reached after {len(self.rows)} of {self.epochs} epochs")

    def values(self, result: TrainResult) -> list[float]:
        """Objectives of the epoch that is best in the first one; its constraints are stored.

        Raises:
            NonFiniteError: There is no such epoch.
        """
        if result.best_epoch < 0:
            raise NonFiniteError(f"{self.file.metrics[0]} was never finite")
        row = self.rows[result.best_epoch]
        values = [result.best_metric, *(row[name] for name in self.file.metrics[1:])]
        for name, value in zip(self.file.metrics, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteError(f"{name} is {value} in the best epoch {result.best_epoch + 1}")
        self.set_constraints(row)
        return values

    def set_constraints(self, row: Metrics) -> None:
        """Store how far an epoch is from the bounds."""
        for limit in self.file.limits:
            self.trial.set_constraint(limit.metric, limit.violation(row[limit.metric]))

    def _require_measured(self, names: Collection[str], later: str | None = None) -> None:
        wanted = (*self.file.metrics, *self.file.constraints)
        missing = [name for name in wanted if name not in names and not (later and name.startswith(later))]
        if missing:
            raise ConfigError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not measured; measured: "
                f"{', '.join(sorted(names))}. Correct metric or constraints of the study file."
            )

    def _record(self, epoch: int, metrics: Metrics) -> bool:
        """Report an epoch; returns what the pruner says, who is asked after the last one for his notes only."""
        monitor = self.file.metrics[0]
        self._require_measured(metrics)
        if not math.isfinite(metrics[monitor]):
            raise NonFiniteError(f"{monitor} is {metrics[monitor]} after epoch {epoch + 1}")
        self.rows.append(metrics)
        if self.file.multi:  # Optuna takes no reports of several objectives
            self.trial.set_user_attr(EPOCHS, len(self.rows))
            return False
        self.trial.report(metrics[monitor], epoch)
        return self.trial.should_prune() and epoch + 1 < self.epochs


def _hardware_text(hardware: dict[str, str]) -> str:
    driver = hardware.get("driver")
    return f"{hardware['device']} in {hardware['precision']}{f' (driver {driver})' if driver else ''}"

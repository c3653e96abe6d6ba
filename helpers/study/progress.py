"""How far a running study is: read from its store, which is never written.

Times are seconds; epochs are counted, so that a trial with 3 epochs is in its fourth one.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from helpers.results.attributes import CONFIG, RESUME_OF, STOP_REASON, WANTED
from helpers.results.lookup import only_study
from helpers.results.ranking import baseline_trial, best_trial, metric_names, signs
from helpers.results.trial_states import FINISHED, INTERRUPTED, epochs_of
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError, scrubbed
from helpers.storage.location import snapshots_of
from helpers.storage.read_only import FAULTS, read_only_store
from helpers.study.heartbeat import is_running
from helpers.study.stop import StopKind, epochs_still_ahead, stop_kind, study_usage

RUNNING = "running"
COMPLETE, PRUNED = (state.name.lower() for state in FINISHED)
STATES = (RUNNING, COMPLETE, PRUNED, "failed", INTERRUPTED.lower(), "waiting")


@dataclass(frozen=True)
class TrialProgress:
    """One trial as it is now."""

    number: int
    state: str  # one of STATES; interrupted: its process is gone, or another trial continues it
    epochs: int  # trained
    curve: tuple[float, ...]  # first objective after each epoch; empty where a study has several


@dataclass(frozen=True)
class StudyProgress:
    """A study as it is now."""

    name: str
    metric: str  # the first objective
    minimize: bool
    trials: tuple[TrialProgress, ...]  # by number, waiting ones left out
    waiting: int
    wanted: int | None  # finished trials to reach; None: not run yet
    epochs_per_trial: int | None
    epoch_seconds: float | None  # measured, over all trials; None before the first epoch
    seconds_left: float | None  # if pruning continues as so far, without regard to budgets; None before the first epoch
    best: tuple[int, float] | None  # number and value of the best complete trial
    stop_reason: str | None
    baseline: int | None = None  # number of the complete trial with the run configuration's own values
    stop_kind: StopKind | None = None

    @property
    def states(self) -> dict[str, int]:
        """How many trials are in which state; those in none are left out."""
        counts = Counter(trial.state for trial in self.trials)
        counts["waiting"] = self.waiting
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def running(self) -> tuple[TrialProgress, ...]:
        """Trials that some process works on."""
        return tuple(trial for trial in self.trials if trial.state == RUNNING)

    @property
    def finished(self) -> int:
        """Number of complete and pruned trials."""
        return sum(trial.state in (COMPLETE, PRUNED) for trial in self.trials)


class StudyReader:
    """Reads a study again and again.

    Args:
        folder: Of the study.
        storage: URL, when the study is not in the folder's own store.

    Raises:
        ConfigError: There is no such study (yet).
        StorageError: It cannot be read now.
    """

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        self._folder = Path(folder)
        self._url = storage
        self._alone = storage is None and snapshots_of(self._folder) is not None
        try:
            store = open_storage(storage, self._folder, must_exist=True) if storage else read_only_store(self._folder)
            self._study = only_study(store, self._folder, storage)
        except FAULTS as error:
            raise _unreadable(self._folder, error, storage) from None

    def read(self) -> StudyProgress:
        """Look at the study.

        Raises:
            StorageError: It cannot be read now.
        """
        try:
            return self._read()
        except FAULTS as error:
            raise _unreadable(self._folder, error, self._url) from None

    def _read(self) -> StudyProgress:
        study = self._study
        known = self._study.user_attrs
        everything = study.get_trials(deepcopy=False)
        resumed = {trial.user_attrs.get(RESUME_OF) for trial in everything}
        trials = tuple(self._trial(t, resumed) for t in everything if t.state != TrialState.WAITING)
        length = _epochs_per_trial(known.get(CONFIG))
        paid = study_usage(study, self._folder)
        wanted = known.get(WANTED)
        pace = paid.seconds / paid.epochs if paid.epochs and paid.seconds else None
        ahead = None if length is None or wanted is None else epochs_ahead(trials, wanted, length)
        workers = max(1, sum(trial.state == RUNNING for trial in trials))
        best = best_trial(study)
        first = baseline_trial(study)
        return StudyProgress(
            name=study.study_name,
            metric=metric_names(study)[0],
            minimize=signs(study)[0] == 1,
            trials=trials,
            waiting=len(everything) - len(trials),
            wanted=wanted,
            epochs_per_trial=length,
            epoch_seconds=pace,
            seconds_left=None if pace is None or ahead is None else pace * ahead / workers,
            best=None if best is None or best.values is None else (best.number, best.values[0]),
            stop_reason=known.get(STOP_REASON),
            baseline=None if first is None else first.number,
            stop_kind=stop_kind(known),
        )

    def _trial(self, trial: FrozenTrial, resumed: set[int | None]) -> TrialProgress:
        if trial.state == TrialState.RUNNING:
            state = RUNNING if is_running(trial, self._alone) else INTERRUPTED.lower()
        elif trial.state == TrialState.FAIL:
            state = INTERRUPTED.lower() if trial.number in resumed else "failed"
        else:
            state = trial.state.name.lower()
        curve = tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values))
        return TrialProgress(trial.number, state, epochs_of(trial, self._folder), curve)


def progress(folder: Path, storage: str | None = None) -> StudyProgress:
    """Look once at a study, running or not (see `StudyReader`).

    >>> found = helpers.progress(Path("optuna_results/digits"))
    >>> found.finished, found.wanted
    (3, 3)
    """
    return StudyReader(folder, storage).read()


def epochs_ahead(trials: tuple[TrialProgress, ...], wanted: int, length: int) -> float:
    """Expect the epochs of the trials that run now, not of those whose process is gone."""
    alive = {RUNNING: TrialState.RUNNING, COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
    seen = [(alive.get(trial.state, TrialState.FAIL), trial.epochs) for trial in trials]
    return epochs_still_ahead(seen, wanted, length)


def _epochs_per_trial(config: object) -> int | None:
    """Read the epochs of a stored run configuration; None where it holds none, as those of other versions may."""
    try:
        epochs = json.loads(str(config))["training"]["epochs"]
    except (ValueError, LookupError, TypeError):
        return None
    return epochs if isinstance(epochs, int) else None


def _unreadable(folder: Path, error: Exception, url: str | None) -> StorageError:
    error = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
    cause = scrubbed(getattr(error, "orig", None) or error, url or "")
    return StorageError(f"The study in {folder} cannot be read now ({cause}); try again.")

"""When and why a run of a study ends: its limits, a request to stop, and the reason that is stored.

A reason has a kind that code asks for, and a text that is printed and stored. A request is a file in the study's folder. Every
process that works on the study there sees it after its epoch.

Epochs and seconds are summed over all trials of the study, those of earlier calls and other workers too. Limits are looked
at before every epoch. With a limit on the sum, a worker is granted each epoch under the study's lock: epochs that others
have started count as trained, so that no number of workers trains one too many. Of seconds, the last epoch may cost more
than was left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain
from helpers.results.attributes import GRANTED, STOP_KIND, STOP_REASON
from helpers.results.trial_states import FINISHED, Usage, epochs_of, total_usage
from helpers.search.constraints import Budget
from helpers.storage.locks import study_lock

STOPPED = "stopped on request"


class StopKind(StrEnum):
    """Kinds of reasons."""

    FINISHED = "finished"  # all trials
    LIMIT = "limit"  # of time, epochs or compute
    REQUEST = "request"  # `stop`, or its button
    INTERRUPTED = "interrupted"  # Ctrl-C or SIGTERM
    ERROR = "error"
    RUNNING = "running"  # not stopped, or killed


@dataclass(frozen=True)
class StopReason:
    """Why no more trials are run."""

    kind: StopKind
    text: str

    def __str__(self) -> str:
        return self.text


def stop_kind(attributes: Mapping[str, Any]) -> StopKind | None:
    """Kind of the reason that a study stores; None where it was never run.

    Args:
        attributes: User attributes of the study. Studies of earlier versions have a text alone.
    """
    if attributes.get(STOP_KIND) in list(StopKind):
        return StopKind(attributes[STOP_KIND])
    text = attributes.get(STOP_REASON)
    if text is None:
        return None
    starts = {
        STOPPED: StopKind.REQUEST,
        "interrupted": StopKind.INTERRUPTED,
        "timeout of": StopKind.LIMIT,
        "budget ": StopKind.LIMIT,
        "not stopped": StopKind.RUNNING,
        "all ": StopKind.FINISHED,
    }
    return next((kind for start, kind in starts.items() if str(text).startswith(start)), StopKind.ERROR)


STOP_FILE = "stop"
LONGEST_REASON = 1000  # bytes


def stop(folder: Path, reason: str = STOPPED) -> None:
    """Ask the study of a folder to stop after the running epoch; running trials are queued again.

    The same call that ran the study resumes it. Asked for while nothing runs, it has no effect: the next start
    forgets it.

    Args:
        folder: Of the study.
        reason: What the study says why it ended.

    Raises:
        ConfigError: There is no such folder, or it cannot be written.

    >>> helpers.stop(Path("optuna_results/digits"))  # nothing runs: no effect
    """
    try:
        # Where there is one, a request was made already; a file of that name in another folder is not ours to write.
        with suppress(FileExistsError), (Path(folder) / STOP_FILE).open("x", encoding="utf-8") as stream:
            stream.write(reason)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"No study at {folder} that could be stopped; name the folder of a study.") from None
    except OSError as error:
        raise ConfigError(f"The study at {folder} cannot be asked to stop: {error.strerror}.") from error


def stop_requested(folder: Path) -> str | None:
    """Say why the study of a folder was asked to stop since it was started; None when it was not."""
    try:
        with open_plain(folder / STOP_FILE, follow=False) as stream:
            return stream.read(LONGEST_REASON).decode("utf-8", "replace") or STOPPED
    except OSError:  # there is none, or the folder does not answer: look again after the next epoch
        return None


def forget_stop(folder: Path) -> None:
    """Begin a run: what stopped the one before does not count any more."""
    with suppress(OSError):  # a folder that is not there, or that cannot be written, is named elsewhere
        (folder / STOP_FILE).unlink(missing_ok=True)


class LimitReached(Exception):
    """The study may use no more; the running trial is resumed in a later call."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.text)
        self.reason = reason


def study_usage(study: optuna.Study, folder: Path | None = None) -> Usage:
    """Add up all trials of a study.

    Args:
        study: Opened.
        folder: Its folder, see `epochs_of`.
    """
    return total_usage(study.get_trials(deepcopy=False), folder)


def epochs_still_ahead(trials: Sequence[tuple[TrialState, int]], wanted: int, length: int) -> float:
    """Expect how many epochs a study still trains.

    Args:
        trials: State and trained epochs of each so far; of those that wait or failed nothing is expected.
        wanted: Finished trials in the end.
        length: Epochs of a trial that nothing ends early.
    """
    ended = [epochs for state, epochs in trials if state in FINISHED]
    usual = sum(ended) / len(ended) if ended else length
    running = [epochs for state, epochs in trials if state == TrialState.RUNNING]
    started = sum((usual if done < usual else length) - done for done in running)
    return started + usual * max(0, wanted - len(ended) - len(running))


class BudgetWatch:
    """The limits of one call, and requests to stop it.

    Args:
        budget: Of the study file.
        timeout: Seconds from now, instead of the budget's.
        folder: Of the study, where `stop` asks.
    """

    def __init__(self, budget: Budget, timeout: float | None = None, folder: Path | None = None) -> None:
        self._budget = budget
        self._folder = folder
        self._timeout = budget.timeout if timeout is None else timeout
        self._started = time.monotonic()

    def called_off(self) -> StopReason | None:
        """Return what ends this call: a request to stop, or its time; None when nothing does."""
        reason = None if self._folder is None else stop_requested(self._folder)
        if reason is not None:
            return StopReason(StopKind.REQUEST, reason)
        if self._timeout is not None and time.monotonic() - self._started >= self._timeout:
            return StopReason(StopKind.LIMIT, f"timeout of {self._timeout:g} s reached")
        return None

    def reached(self, study: optuna.Study, trial: optuna.Trial | None = None) -> StopReason | None:
        """Say which limit is reached, None when there is some of everything left.

        Args:
            study: Whose limits.
            trial: That would continue; None for a new one.
        """
        return self.called_off() or self.overspent(study, trial)

    def begin(self, trial: optuna.Trial, done: int) -> None:
        """Let a new trial begin its first epoch; call it under the lock under which no limit was reached.

        Args:
            trial: Just asked for.
            done: Epochs that it inherits.
        """
        if self._is_shared:
            trial.set_user_attr(GRANTED, done + 1)

    def grant(self, study: optuna.Study, trial: optuna.Trial, done: int) -> StopReason | None:
        """Let a trial begin its next epoch, or say which limit is reached.

        Args:
            study: Whose limits.
            trial: Running.
            done: Epochs that it has trained, inherited ones included.

        Raises:
            StorageError: The server of the storage does not answer.
        """
        if not self._is_shared:
            return self.called_off()
        assert self._folder is not None
        with study_lock(study, self._folder):
            reason = self.reached(study, trial)
            if reason is None:
                trial.set_user_attr(GRANTED, done + 1)
        return reason

    @property
    def _is_shared(self) -> bool:
        """Whether there is a limit on the sum over all trials."""
        return self._budget.max_total_epochs is not None or self._budget.max_compute is not None

    def overspent(self, study: optuna.Study, trial: optuna.Trial | None = None) -> StopReason | None:
        """Say which limit on the sum over all trials is reached (see `reached`)."""
        epochs = self._budget.max_total_epochs
        seconds = self._budget.max_compute
        if epochs is None and seconds is None:
            return None
        trials = study.get_trials(deepcopy=False)  # once: an epoch that ends meanwhile is started or counted
        paid = total_usage(trials, self._folder)
        started = _started_by_others(trials, trial, self._folder)
        if epochs is not None and paid.epochs + started >= epochs:
            return StopReason(StopKind.LIMIT, f"budget max_total_epochs {epochs} reached")
        pace = paid.seconds / paid.epochs if paid.epochs else 0.0
        if seconds is not None and paid.seconds + started * pace >= seconds:
            return StopReason(StopKind.LIMIT, f"budget max_compute {seconds:g} s reached")
        return None


def _started_by_others(trials: list[FrozenTrial], trial: optuna.Trial | None, folder: Path | None) -> int:
    """Count the epochs that other trials have started and not reported."""
    running = (other for other in trials if other.state == TrialState.RUNNING)
    others = (other for other in running if trial is None or other.number != trial.number)
    return sum(other.user_attrs.get(GRANTED, 0) > epochs_of(other, folder) for other in others)

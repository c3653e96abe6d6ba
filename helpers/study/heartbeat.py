"""Which process works on a trial, and what happens to the trials of dead ones.

Local owners are identified by PID and start time. Remote owners increment a heartbeat counter: a count that stays the same
for `GRACE` seconds of the local clock means a dead owner, so no two clocks are compared.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import UserError
from helpers.optuna_private import set_trial_attribute
from helpers.results.attributes import BASELINE, BEAT, LOST, OWNER, REASON, RESUME_OF
from helpers.results.trial_states import ancestors, epochs_of

logger = logging.getLogger(__name__)


BEAT_SECONDS = 60.0
GRACE = (
    600.0  # longer than a worker waits for a storage that does not answer, in which time no heartbeat can be written
)
_ASKED_JUST_NOW = 5.0  # seconds between a trial's start and its owner being written
_START_TOLERANCE = 1.0  # seconds
_AT_WORK: set[str] = set()  # tokens of the trials that this process works on right now
_SEEN: dict[str, tuple[Any, float]] = {}  # by token of other machines' owners: count, and when it was first seen


def current_owner() -> dict[str, Any]:
    """Identify this process; its start time tells it from a later one with the same number."""
    process = psutil.Process()
    started = {"started": process.create_time(), "ticks": _ticks(process.pid)}
    return {"host": socket.gethostname(), "pid": process.pid, **started}


def _ticks(pid: int) -> int | None:
    """Start of a process in ticks since boot, which no change of the clock moves; None where the system does not tell.

    Its start in seconds (psutil) is counted from the boot's time of day, which moves with the clock.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def claimed(trial: optuna.Trial, worker: str | None = None) -> Iterator[None]:
    """Own a trial while a `with` block lasts.

    A notebook outlives its studies: the token tells a trial at work from one that this process had to give up.

    Args:
        trial: Just asked for.
        worker: Name of this process in a worker pool.
    """
    token = uuid.uuid4().hex
    ended = threading.Event()
    _AT_WORK.add(token)
    try:
        trial.set_user_attr(OWNER, {**current_owner(), "token": token, "worker": worker})
        threading.Thread(target=_count, args=(trial, ended), daemon=True).start()
        yield
    finally:
        ended.set()
        _AT_WORK.discard(token)


def _count(trial: optuna.Trial, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        count += 1
        try:
            set_trial_attribute(trial.study, trial, BEAT, count)
        except UserError as error:  # the training itself will meet it
            logger.debug("trial %d cannot show that it is alive: %s", trial.number, error)
        except RuntimeError:  # another process has closed it
            return


def is_alive(owner: dict[str, Any], one_machine: bool = False) -> bool:
    """Tell whether an owner may still be working.

    Args:
        owner: See `current_owner`.
        one_machine: Only this machine works on the study, so that others are gone; else they are taken to be alive.
    """
    if owner["host"] != socket.gethostname():
        return not one_machine
    try:
        process = psutil.Process(owner["pid"])
        # A killed child whose parent (a notebook) has not collected it yet still has its number.
        ended = process.status() == psutil.STATUS_ZOMBIE
        ticks = owner.get("ticks")
        moved = abs(process.create_time() - owner["started"]) >= _START_TOLERANCE
        if ended or (moved if ticks is None else _ticks(process.pid) != ticks):
            return False
    except psutil.NoSuchProcess:
        return False
    given_up = process.pid == psutil.Process().pid and "token" in owner and owner["token"] not in _AT_WORK
    return not given_up


def is_running(trial: FrozenTrial, one_machine: bool = False, dead: Collection[str] = ()) -> bool:
    """Tell whether a process works on a running trial.

    Args:
        trial: Running, as just read.
        one_machine: See `is_alive`.
        dead: Names of workers that are known to be gone.
    """
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        age = (datetime.now() - (trial.datetime_start or datetime.min)).total_seconds()
        return abs(age) < _ASKED_JUST_NOW  # the clock may have been set back
    if owner.get("worker") in dead or not is_alive(owner, one_machine):
        return False
    return owner["host"] == socket.gethostname() or _counts(owner.get("token", str(owner)), trial.user_attrs.get(BEAT))


def all_owned(trials: list[FrozenTrial], one_machine: bool = False) -> bool:
    """Tell whether a process works on every running trial (see `is_running`)."""
    return all(is_running(trial, one_machine) for trial in trials if trial.state == TrialState.RUNNING)


def _counts(token: str, count: int | None) -> bool:
    seen = _SEEN.get(token)
    if seen is None or seen[0] != count:
        _SEEN[token] = (count, time.monotonic())
        return True
    return time.monotonic() - seen[1] < GRACE


def requeue(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """End an interrupted trial as failed and queue its parameters again, once. Call it under the study's lock.

    The new trial is queued before the old one is closed: a kill between the two repeats this, and the check below keeps
    it from queueing twice.
    """
    known = {t.user_attrs.get(RESUME_OF) for t in study.get_trials(deepcopy=False)}
    # A trial killed between two suggestions knows only some of its queued parameters as its own.
    parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if parameters and trial.number not in known:
        marks = {BASELINE: True} if trial.user_attrs.get(BASELINE) else {}
        study.enqueue_trial(parameters, user_attrs={RESUME_OF: trial.number, **marks})
    _fail(study, trial, reason)


def _fail(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    set_trial_attribute(study, trial, REASON, reason)
    study.tell(trial.number, state=TrialState.FAIL)


def requeue_lost(
    study: optuna.Study, one_machine: bool = False, dead: Collection[str] = (), max_deaths: int | None = None
) -> list[int]:
    """Requeue the trials of dead processes; leave live ones alone. Call it under the study's lock.

    Args:
        study: Whose trials.
        one_machine: See `is_alive`; so it is where the store is a file on this machine's disk.
        dead: Names of workers that are known to be gone.
        max_deaths: A trial whose processes died that often without an epoch more is not queued again; None: always.

    Returns:
        Numbers of the trials that were closed.
    """
    closed = []
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if is_running(trial, one_machine, dead):
            owner = trial.user_attrs.get(OWNER)
            if owner is not None and owner["host"] != socket.gethostname():
                logger.debug("trial %d is left alone: it runs on machine %s", trial.number, owner["host"])
            continue
        deaths = 1 + _deaths_before(trials, trial)
        if max_deaths is not None and deaths >= max_deaths:
            _fail(study, trial, f"{deaths} processes in a row ended in the middle of it without an epoch more")
            logger.warning(
                "trial %d: failed, %d workers died in it without finishing another epoch", trial.number, deaths
            )
        else:
            requeue(study, trial, LOST)
            logger.info("trial %d: worker died, re-queued", trial.number)
        closed.append(trial.number)
    return closed


def _deaths_before(trials: list[FrozenTrial], trial: FrozenTrial) -> int:
    """Count the processes that died in a trial before without leaving it an epoch more than they had found."""
    epochs = epochs_of(trial)
    deaths = 0
    for before in ancestors(trials, trial):
        if before.user_attrs.get(REASON) != LOST or epochs_of(before) < epochs:
            break
        epochs = epochs_of(before)
        deaths = deaths + 1
    return deaths

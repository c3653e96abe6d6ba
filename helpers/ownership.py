"""Which process works on a trial, and what happens to the trials of dead ones."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

logger = logging.getLogger(__name__)

# User attributes of trials.
OWNER, RESUME_OF, REASON, BASELINE = "owner", "resume_of", "fail_reason", "baseline"
SECONDS = "seconds"  # of the whole trial, earlier processes included
EPOCHS = "epochs"  # trained so far, where nothing is reported (several objectives)
INHERITED = "inherited"  # {epochs, seconds} that earlier processes spent and that are counted there

_ASKED_JUST_NOW = 5.0  # seconds between a trial's start and its owner being written
_START_TOLERANCE = 1.0  # seconds
_AT_WORK: set[str] = set()  # tokens of the trials that this process works on right now


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
def claimed(trial: optuna.Trial) -> Iterator[None]:
    """Own a trial while a `with` block lasts.

    A notebook outlives its studies: the token tells a trial at work from one that this process had to give up.
    """
    token = uuid.uuid4().hex
    _AT_WORK.add(token)
    try:
        trial.set_user_attr(OWNER, {**current_owner(), "token": token})
        yield
    finally:
        _AT_WORK.discard(token)


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


def ancestors(trials: list[FrozenTrial], trial: FrozenTrial | optuna.Trial) -> Iterator[FrozenTrial]:
    """Yield the trials that a trial continues, the latest first.

    Args:
        trials: All of the study, by number.
        trial: One of them.
    """
    number = trial.user_attrs.get(RESUME_OF)
    while number is not None:
        before = trials[number]
        yield before
        number = before.user_attrs.get(RESUME_OF)


def requeue(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """End an interrupted trial as failed and queue its parameters again, once.

    The new trial is queued before the old one is closed: a kill between the two repeats this, and the check below keeps
    it from queueing twice.
    """
    known = {t.user_attrs.get(RESUME_OF) for t in study.get_trials(deepcopy=False)}
    # A trial killed between two suggestions knows only some of its queued parameters as its own.
    parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if parameters and trial.number not in known:
        marks = {BASELINE: True} if trial.user_attrs.get(BASELINE) else {}
        study.enqueue_trial(parameters, user_attrs={RESUME_OF: trial.number, **marks})
    study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
    study.tell(trial.number, state=TrialState.FAIL)


def reap(study: optuna.Study, one_machine: bool = False) -> list[int]:
    """Requeue the trials of dead processes; leave live ones alone.

    Args:
        study: Whose trials.
        one_machine: See `is_alive`; so it is where the store is a file on this machine's disk.

    Returns:
        Numbers of the trials that were requeued.
    """
    reaped = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            age = (datetime.now() - (trial.datetime_start or datetime.min)).total_seconds()
            if abs(age) < _ASKED_JUST_NOW:  # the clock may have been set back
                continue
        elif is_alive(owner, one_machine):
            if owner["host"] != socket.gethostname():
                logger.info("trial %d is left alone: it runs on machine %s", trial.number, owner["host"])
            continue
        requeue(study, trial, "its process ended in the middle of the trial")
        logger.info("trial %d was left by a dead process; its parameters are queued again", trial.number)
        reaped.append(trial.number)
    return reaped

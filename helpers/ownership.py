"""Which process works on a trial, and what happens to the trials of dead ones."""

from __future__ import annotations

import logging
import socket
from datetime import datetime
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

logger = logging.getLogger(__name__)

OWNER, RESUME_OF, REASON = "owner", "resume_of", "fail_reason"
_ASKED_JUST_NOW = 5.0  # seconds between a trial's start and its owner being written
_START_TOLERANCE = 1.0  # seconds


def current_owner() -> dict[str, Any]:
    """Identify this process; its start time tells it from a later one with the same number."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def is_alive(owner: dict[str, Any]) -> bool:
    """Tell whether an owner may still be working; owners on other machines are taken to be alive."""
    if owner["host"] != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < _START_TOLERANCE
    except psutil.NoSuchProcess:
        return False


def requeue(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """End an interrupted trial as failed and queue its parameters again, once.

    The new trial is queued before the old one is closed: a kill between the two repeats this, and the check below keeps
    it from queueing twice.
    """
    known = {t.user_attrs.get(RESUME_OF) for t in study.get_trials(deepcopy=False)}
    parameters = trial.params or trial.system_attrs.get("fixed_params", {})
    if parameters and trial.number not in known:
        study.enqueue_trial(parameters, user_attrs={RESUME_OF: trial.number})
    study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
    study.tell(trial.number, state=TrialState.FAIL)


def reap(study: optuna.Study) -> list[int]:
    """Requeue the trials of dead processes; leave live ones alone.

    Returns:
        Numbers of the trials that were requeued.
    """
    reaped = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            age = (datetime.now() - (trial.datetime_start or datetime.min)).total_seconds()
            if age < _ASKED_JUST_NOW:
                continue
        elif is_alive(owner):
            continue
        requeue(study, trial, "its process ended in the middle of the trial")
        logger.info("trial %d was left by a dead process; its parameters are queued again", trial.number)
        reaped.append(trial.number)
    return reaped

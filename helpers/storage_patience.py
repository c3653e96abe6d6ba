"""A database behind a server that may be away for a while: calls wait for it and are done again.

A server that is restarted, a network that is cut: the training goes on until its next report, which waits. Every call of
Optuna's storage is one transaction; one that may have been committed before the answer was lost is told apart below.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage

from helpers.storage_errors import StorageError

logger = logging.getLogger(__name__)

PATIENCE = 300.0  # seconds that a call waits for a server which does not answer
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts


class Unreachable(StorageError):
    """The server does not answer."""


class Database(RDBStorage):
    """Optuna's relational storage with patient calls."""


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: Database, *args: Any, **kwargs: Any) -> Any:
        started, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                answer = method(self, *args, **kwargs)
                if pause > _FIRST_PAUSE:
                    logger.info("the storage answers again after %.0f s", time.monotonic() - started)
                return answer
            except Unreachable as error:
                if time.monotonic() - started >= PATIENCE:
                    raise
                if pause == _FIRST_PAUSE:
                    logger.warning("%s; waiting for it up to %.0f s", error, PATIENCE)
            except UpdateFinishedTrialError:
                # A trial that the lost answer had already closed; one that another process closed is not this one's.
                if pause == _FIRST_PAUSE or name != "set_trial_state_values" or not _is_closed_so(self, *args, **kwargs):
                    raise
                return True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    return call


def _is_closed_so(storage: Database, trial_id: int, state: Any, values: Any = None) -> bool:
    trial = storage.get_trial(trial_id)
    return trial.state == state and (values is None or trial.values == list(values))


for _name in BaseStorage.__abstractmethods__:
    setattr(Database, _name, _patient(_name))

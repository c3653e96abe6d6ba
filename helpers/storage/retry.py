"""A database behind a server that may be away for a while: calls wait for it and are done again.

What it reads and cannot understand (a damaged page that is a page still) is told as `StorageError`.

A server that is restarted, a network that is cut: the training continues until its next report, which waits. Every call of
Optuna's storage is one transaction; one that may have been committed before the answer was lost is told apart below.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from gazegaussian.errors import class_and_line
from gazegaussian.utils.interrupts import uninterrupted
from gazegaussian.utils.yaml_files import shorten
from helpers.optuna_private import RDB_CALLS
from helpers.storage.errors import LEFT, StorageError, redacted

logger = logging.getLogger(__name__)

RETRY_TIMEOUT = 300.0  # seconds that a call waits for a server which does not answer
T = TypeVar("T")
# seconds between two attempts
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Unreachable(StorageError):
    """The server does not answer."""


class Database(RDBStorage):
    """Optuna's relational storage with patient calls."""


def patiently(call: Callable[[bool], T]) -> T:
    """Call a function until the server answers it.

    Args:
        call: Gets whether it has been called before.

    Raises:
        Unreachable: The server has not answered for `RETRY_TIMEOUT` seconds.
    """
    started = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        again = pause > _FIRST_PAUSE
        try:
            answer = call(again)
        except Unreachable as error:
            if time.monotonic() - started >= RETRY_TIMEOUT:
                raise
            if not again:
                logger.warning("%s Waiting for it up to %.0f s.", error, RETRY_TIMEOUT)
        else:
            if again:
                logger.info("the storage answers again after %.0f s", time.monotonic() - started)
            return answer
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _retried(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def patient(self: Database, *args: Any, **kwargs: Any) -> Any:
        def call(again: bool) -> Any:
            try:
                with uninterrupted():
                    return method(self, *args, **kwargs)
            except KeyError:  # no such study or trial
                raise
            except (ValueError, LookupError, TypeError) as error:
                if name not in _READS:
                    raise
                raise _meaningless(self, error) from error
            except (StorageInternalError, SQLAlchemyError) as error:  # of a file: such as text that is none
                if name not in _READS or self.engine.dialect.name != "sqlite":
                    raise
                raise _meaningless(self, error.__cause__ or error) from error
            except UpdateFinishedTrialError:
                # A trial that the lost answer had already closed; one that another process closed is not this one's.
                if again and name == "set_trial_state_values" and _is_closed_so(self, *args, **kwargs):
                    return True
                raise

        return patiently(call)

    return patient


def _meaningless(storage: Database, error: BaseException) -> StorageError:
    """What to raise where rows can be read and make no study."""
    what = shorten(class_and_line(error), 200)
    return StorageError(f"The database {redacted(storage.url)} holds records that no study writes ({what}); {LEFT}.")


def _is_closed_so(storage: Database, trial_id: int, state: Any, values: Any = None) -> bool:
    trial = storage.get_trial(trial_id)
    return trial.state == state and (values is None or trial.values == list(values))


# Calls that turn rows into studies and trials; others raise ValueError for what they are asked.
_READS = {
    "_get_trials",
    "get_all_trials",
    "get_all_studies",
    "get_trial",
    "get_study_user_attrs",
    "get_study_system_attrs",
}
for _name in BaseStorage.__abstractmethods__ | set(RDB_CALLS):
    setattr(Database, _name, _retried(_name, getattr(RDBStorage, _name)))

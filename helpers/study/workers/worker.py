"""What a worker of a crew does, wherever it runs, and how its end is told."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

from helpers.study.budget import BudgetWatch
from helpers.study.loop import open_study, run_trials
from helpers.study.spec import StudyRequest
from helpers.utils.processes import portable, sigterm_interrupts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a worker ended; neither reason nor error: it died, or was asked to end."""

    worker: str
    reason: str | None = None  # why it runs no more trials
    error: BaseException | None = None
    death: str | None = None
    killed: bool = False  # by SIGKILL, which is what the system does when memory runs out


def work(request: StudyRequest) -> Ended:
    """Run trials of a begun study as one of several workers, until there are enough or a limit is met.

    Args:
        request: With the worker's name.

    Returns:
        How it ended; errors are made to survive the way to another process.
    """
    assert request.worker is not None
    try:
        with sigterm_interrupts():
            config = request.monitored()
            request.check(config)
            importlib.import_module("gazegaussian.build")  # now: the first trial's seconds are those of its training
            study = open_study(request, config)
            watch = BudgetWatch(request.study.budget, None, request.folder)
            logger.info("ready for trials of study %s", study.study_name)
            return Ended(request.worker, reason=run_trials(study, request, config, watch))
    except KeyboardInterrupt:
        return Ended(request.worker, death="it was asked to end (SIGTERM)")
    except Exception as error:
        return Ended(request.worker, error=portable(error))

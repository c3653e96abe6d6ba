"""What a worker of a worker pool does, wherever it runs, and how its end is told."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

from gazegaussian.utils.interrupts import interruptible
from helpers.study.loop import open_study, run_trials
from helpers.study.spec import StudySpec
from helpers.study.stop import BudgetWatch, StopReason
from helpers.utils.processes import portable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerExit:
    """Exit status of a worker. Both `reason` and `error` None: it was killed."""

    worker: str
    reason: StopReason | None = None  # why it runs no more trials
    error: BaseException | None = None
    death: str | None = None
    killed: bool = False  # by SIGKILL, which is what the system does when memory runs out


def work(spec: StudySpec) -> WorkerExit:
    """Run trials of an existing study as one of several workers, until there are enough or a limit is met.

    Args:
        spec: With the worker's name.

    Returns:
        How it ended; errors are made to survive the way to another process.
    """
    assert spec.worker is not None
    try:
        with interruptible():
            config = spec.monitored()
            spec.check(config)
            importlib.import_module("gazegaussian.build")  # now: the first trial's seconds are those of its training
            study = open_study(spec, config)
            watch = BudgetWatch(spec.study.budget, None, spec.folder)
            logger.info("ready for trials of study %s", study.study_name)
            return WorkerExit(spec.worker, reason=run_trials(study, spec, config, watch))
    except KeyboardInterrupt:
        return WorkerExit(spec.worker, death="it was asked to end (SIGTERM)")
    except Exception as error:
        return WorkerExit(spec.worker, error=portable(error))

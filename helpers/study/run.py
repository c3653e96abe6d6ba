"""Runs a study: our own ask/tell loop around `gazegaussian.build.train_run`, in this process or by several workers.

`trials` counts finished trials (complete and pruned) in total, so the same command resumes a study, and running it again
when it is finished adds nothing.

What can be repeated, on a CPU:

| | one worker | several workers |
|---|---|---|
| a trial: same parameters, seed and threads | the same bits, interrupted or not | the same bits, interrupted or not |
| proposals of a sampler that does not learn, or has not begun to (the first `n_startup_trials` of TPE) | the same | the same, in the order in which trials begin |
| later proposals, and what is pruned | the same, interrupted or not | depend on which trials had reported what by then |

The n-th proposal is drawn with a seed made of the study's seed and n (`helpers.search.samplers.study_sampler`). TPE, Gaussian processes and
grids are told of the trials at work; `--workers 1` makes a study repeatable as a whole.
"""

from __future__ import annotations

import logging

import optuna

from gazegaussian.build import cpu_threads
from gazegaussian.config import RunConfig
from gazegaussian.errors import UserError, first_line
from helpers.results.attributes import BASELINE, STOP_REASON, WANTED
from helpers.search.space import baseline, check_space
from helpers.storage.study_lock import study_lock
from helpers.study.budget import BudgetWatch
from helpers.study.compatibility import note_environment
from helpers.study.heartbeat import reap
from helpers.study.isolation import Train
from helpers.study.loop import open_study, run_trials
from helpers.study.resume import complete_study, save
from helpers.study.spec import Crew, StudyRequest
from helpers.study.stop import INTERRUPTED, forget_stop
from helpers.study.workers.plan import plan_workers
from helpers.study.workers.ray_pool import connect
from helpers.study.workers.supervisor import supervise
from helpers.utils.disk import require_writable
from helpers.utils.files import say_if_new
from helpers.utils.processes import sigterm_interrupts

__all__ = ["Crew", "StudyRequest", "Train", "open_study", "run_study"]

logger = logging.getLogger(__name__)


def run_study(request: StudyRequest, forget_stops: bool = True) -> optuna.Study:
    """Run or resume a study up to its number of finished trials, to a limit of its budget, or until `stop` asks.

    Args:
        request: What to run and where, by whom.
        forget_stops: False where the caller has forgotten them earlier: one that came since then counts.

    Returns:
        The study; results are on disk beside its trials, and its attribute `stop_reason` says why it ended. One that has
        all its trials is left as it is.

    Raises:
        UserError: Configuration, data, checkpoint, disk or storage cannot be used; nothing finished is lost.
        RuntimeError: Too many trials failed in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the trials at work are queued again for the next run.
    """
    complete = complete_study(request)
    if complete is not None:
        return complete
    config = request.monitored()
    start_values = baseline(request.study, config)
    check_space(request.study, config)
    if request.crew is None or request.crew.ray is None:  # else the workers' machines are those that count
        request.check(config)
    else:
        connect(request.crew.ray)  # nothing is begun where there is no cluster
    say_if_new(request.out)
    require_writable(request.folder)
    if forget_stops:
        forget_stop(request.folder)
    study = open_study(request, config)
    try:
        with sigterm_interrupts():
            with study_lock(study, request.folder):  # another process may begin the same study now
                reap(study, request.one_machine)
                if not study.get_trials(deepcopy=False):
                    study.enqueue_trial(start_values, user_attrs={BASELINE: True})
            reason = _run(study, request, config)
    except BaseException as error:
        asked = isinstance(error, KeyboardInterrupt | SystemExit)  # Ray turns SIGTERM into the latter
        _note_stop(study, request, INTERRUPTED if asked else first_line(error))
        if asked:  # the tables show what there is
            save(study, request)
        raise
    _note_stop(study, request, reason)
    return study


def _run(study: optuna.Study, request: StudyRequest, config: RunConfig) -> str:
    """Run trials until there are enough or a limit is met; returns why no more are run."""
    study.set_user_attr(STOP_REASON, "not stopped: running, or killed")
    study.set_user_attr(WANTED, request.study.trials)
    watch = BudgetWatch(request.study.budget, request.timeout, request.folder)
    if request.crew is not None and request.crew.ray is not None:
        note_environment(study, config)
        return supervise(study, request, watch)
    plan = plan_workers(request, study)
    with cpu_threads(plan.threads):
        note_environment(study, config)
        if plan.line is not None:
            logger.info(plan.line)
        if plan.workers == 1:
            return run_trials(study, request, config, watch)
    return supervise(study, request, watch, plan)


def _note_stop(study: optuna.Study, request: StudyRequest, reason: str) -> None:
    """Say why the study ends, here and in the storage."""
    logger.info("study %s stops: %s", study.study_name, reason)
    try:
        study.set_user_attr(STOP_REASON, reason)
        request.save_snapshot()
    except UserError as error:  # the storage itself may be the reason
        logger.warning("why the study stopped cannot be stored: %s", error)

"""Runs a study: our own ask/tell loop around `gazegaussian.build.train_run`, in this process or by several workers.

`trials` counts finished trials (complete and pruned) in total, so the same command resumes a study, and running it again
when it is finished adds nothing.

What can be repeated, on a CPU:

| | one worker | several workers |
|---|---|---|
| a trial: same parameters, seed and threads | the same bits, interrupted or not | the same bits, interrupted or not |
| proposals of a sampler that does not learn, or has not started to (the first `n_startup_trials` of TPE) | the same | the same, in the order in which trials start |
| later proposals, and what is pruned | the same, interrupted or not | depend on which trials had reported what by then |

The n-th proposal is drawn with a seed made of the study's seed and n (`helpers.search.samplers_and_pruners.study_sampler`). TPE, Gaussian processes and
grids know the running trials; `--workers 1` makes a study repeatable as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import optuna
from optuna.storages import BaseStorage

from gazegaussian.build import cpu_threads
from gazegaussian.config import RunConfig
from gazegaussian.errors import UserError, first_line
from gazegaussian.utils.interrupts import interruptible
from helpers.results.attributes import BASELINE, STOP_KIND, STOP_REASON, WANTED
from helpers.search.space import baseline, check_space
from helpers.storage.locks import study_lock
from helpers.study.heartbeat import requeue_lost
from helpers.study.loop import open_study, run_trials
from helpers.study.resume import save, store_study_environment
from helpers.study.spec import StudySpec
from helpers.study.stop import BudgetWatch, StopKind, StopReason, forget_stop
from helpers.study.workers.plan import plan_workers
from helpers.study.workers.ray_pool import connect
from helpers.study.workers.supervisor import supervise
from helpers.utils.files import log_output_dir, require_writable

logger = logging.getLogger(__name__)


def run_study(
    spec: StudySpec, store: BaseStorage | None, audit: Callable[[StudySpec], object] | None = None
) -> optuna.Study:
    """Run the trials of a study; `helpers.run` is the public verb, and says what is returned and raised.

    Args:
        spec: What to run.
        store: Where the study is; None: it is created.
        audit: Called when the spec is known to be usable, before anything is created; raises where the study must not run.
    """
    config = spec.monitored()
    start_values = baseline(spec.study, config)
    check_space(spec.study, config)
    forget_stop(spec.folder)  # a request to stop that comes from now on counts
    if spec.pool is None or spec.pool.ray is None:
        spec.check(config)
    else:  # each worker checks its own machine
        connect(spec.pool.ray)
    log_output_dir(spec.out)
    require_writable(spec.folder)
    if audit is not None:
        audit(spec)
    study = open_study(spec, config, store)
    try:
        with interruptible():
            with study_lock(study, spec.folder):  # another process may begin the same study now
                requeue_lost(study, spec.one_machine)
                if not study.get_trials(deepcopy=False):
                    study.enqueue_trial(start_values, user_attrs={BASELINE: True})
            reason = _run(study, spec, config)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)  # Ray turns SIGTERM into the latter
        kind = StopKind.INTERRUPTED if interrupted else StopKind.ERROR
        _note_stop(study, spec, StopReason(kind, str(kind) if interrupted else first_line(error)))
        if interrupted:  # the tables show what there is
            save(study, spec)
        raise
    _note_stop(study, spec, reason)
    return study


def _run(study: optuna.Study, spec: StudySpec, config: RunConfig) -> StopReason:
    """Run trials until there are enough or a limit is met; returns why no more are run."""
    study.set_user_attr(STOP_REASON, "not stopped: running, or killed")
    study.set_user_attr(STOP_KIND, StopKind.RUNNING)
    study.set_user_attr(WANTED, spec.study.trials)
    watch = BudgetWatch(spec.study.budget, spec.timeout, spec.folder)
    if spec.pool is None:  # this process trains, one trial at a time
        store_study_environment(study, config)
        return run_trials(study, spec, config, watch)
    if spec.pool.ray is not None:
        store_study_environment(study, config)
        return supervise(study, spec, watch)
    plan = plan_workers(spec, study)
    with cpu_threads(plan.threads):
        store_study_environment(study, config)
        if plan.line is not None:
            logger.info(plan.line)
        if plan.workers == 1:
            return run_trials(study, spec, config, watch)
    return supervise(study, spec, watch, plan)


def _note_stop(study: optuna.Study, spec: StudySpec, reason: StopReason) -> None:
    """Say why the study ends, here and in the storage."""
    logger.info("study %s stops: %s", study.study_name, reason)
    try:
        study.set_user_attr(STOP_REASON, reason.text)
        study.set_user_attr(STOP_KIND, reason.kind)
        spec.save_snapshot()
    except UserError as error:  # the storage itself may be the reason
        logger.warning("cannot store why the study stopped: %s", error)

"""How many trials of a study run side by side on this machine, and with how many CPU threads each.

On a CPU a second thread speeds one training up by a quarter, while a second trial doubles the work done, and trials of one thread
do not wait for each other beside busy programs. So the default there is a trial per core, one thread each.
On CUDA a study runs in one process unless workers are asked for.

The number of threads depends on the machine and on the number of trials that the study shall have, never on what is free at the
moment: an interrupted trial resumes with as many threads as it had, and so trains to the same bits.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import optuna

from gazegaussian.training.step import resolve_device
from gazegaussian.utils import cores
from helpers.study.spec import StudySpec, preflight
from helpers.study.stop import study_usage
from helpers.study.trial import trials_left
from helpers.study.workers.threads import chosen_threads
from helpers.utils import processes as resources

WORKER_MEMORY = "worker_memory_bytes"  # user attribute of studies: the most that a worker was seen to use
SMALLEST_WORKER = 1.0e9  # bytes; a MeshHead worker of 30 people at 128 px was seen to use 0.69 GB
MEMORY_RESERVE = 0.3e9  # bytes that stay free for the process that supervises and for the system
GB = 1e9


@dataclass(frozen=True)
class WorkerPlan:
    """Who runs the trials of a study.

    Attributes:
        workers: Trials side by side; 1: in this process.
        threads: CPU threads of each; None: those of torch, divided among several workers.
        automatic: Whether the number was chosen here, so that it may be lowered when memory runs short.
        line: What the log says about it; None where there is nothing to say.
    """

    workers: int
    threads: int | None = None
    automatic: bool = False
    line: str | None = None


def plan_workers(spec: StudySpec, study: optuna.Study) -> WorkerPlan:
    """Decide how many trials run side by side on this machine.

    Args:
        spec: What is run; its worker pool says how many workers are wanted, or leaves the number open.
        study: Opened; trials that dead processes left are queued again.

    Raises:
        DeviceError: The configured device is not there.
    """
    pool = spec.pool
    if pool is None or pool.workers == 1:
        return WorkerPlan(1)
    on_cpu = resolve_device(spec.config.training.device).type == "cpu"
    threads = chosen_threads(spec.config)
    if pool.workers is not None:  # without a choice of the user's they divide the threads
        return WorkerPlan(pool.workers, threads if on_cpu else None)
    return _automatic(spec, study, threads) if on_cpu else WorkerPlan(1)


def _automatic(spec: StudySpec, study: optuna.Study, chosen: int | None) -> WorkerPlan:
    """A trial per core, unless trials, budget or memory are too few."""
    usable = cores.available_cores()
    threads = chosen or max(1, usable // min(usable, spec.study.trials))
    wanted = max(1, min(usable // threads, trials_left(study.get_trials(deepcopy=False), spec.study.trials)))
    wanted = min(wanted, _trials_in_budget(spec, study))
    if wanted == 1:
        return WorkerPlan(1, threads)
    obstacle = not_portable(spec)
    if obstacle is not None:
        return WorkerPlan(1, threads, line=f"one trial at a time: {obstacle}")
    needed = memory_needed(study)
    free = resources.available_memory()
    workers = max(1, min(wanted, int((free - MEMORY_RESERVE) // needed)))
    short = f"{free / GB:.1f} GB of memory are free, a trial needs about {needed / GB:.1f} GB"
    if workers == 1:
        return WorkerPlan(1, threads, line=f"one trial at a time: {short}")
    each = "one thread" if threads == 1 else f"{threads} threads"
    line = f"{workers} trials side by side, {each} each; --workers 1 trains one at a time"
    return WorkerPlan(workers, threads, True, line if workers == wanted else f"{line} ({short})")


def _trials_in_budget(spec: StudySpec, study: optuna.Study) -> int:
    """Count the trials that a limit on epochs lets train to their end; at least 1."""
    limit = spec.study.budget.max_total_epochs
    if limit is None:
        return spec.study.trials
    length = spec.study.epochs or spec.config.training.epochs
    return max(1, (limit - study_usage(study, spec.folder).epochs) // length)


def memory_needed(study: optuna.Study) -> float:
    """Expect the memory of one worker, in bytes.

    What workers of this study were seen to use, where it has run before; else the most that this process has used, which after
    an audit is that of a training, and never less than `SMALLEST_WORKER`.
    """
    seen = study.user_attrs.get(WORKER_MEMORY)
    return float(seen) if seen is not None else max(SMALLEST_WORKER, peak_of_this_process())


def peak_of_this_process() -> float:
    """The largest resident size so far, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return 0.0


def not_portable(spec: StudySpec) -> str | None:
    """Say why a spec cannot be handed to another process; None where it can.

    Workers import modules, never the program that was started: one without the guard `if __name__ == "__main__":` would run its
    study again in each of them.
    """
    try:
        packed = bytes(ForkingPickler.dumps(replace(spec, check=preflight)))
    except (pickle.PicklingError, AttributeError, TypeError):
        return "its training function or names of trials cannot be sent to other processes; define them in a module"
    if b"__main__" in packed:
        return "its training function or names of trials are defined in the program itself; define them in a module"
    return None

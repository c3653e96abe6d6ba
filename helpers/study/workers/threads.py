"""CPU threads that a user has chosen for a training."""

from __future__ import annotations

import os

from gazegaussian.config import RunConfig

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def chosen_threads(config: RunConfig) -> int | None:
    """CPU threads that a user has chosen, in the run configuration or by an environment variable; None: neither."""
    if config.training.threads is not None:
        return config.training.threads
    for name in THREAD_VARIABLES:
        first = os.environ.get(name, "").split(",")[0].strip()  # OpenMP takes a list, by levels of nesting
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return None

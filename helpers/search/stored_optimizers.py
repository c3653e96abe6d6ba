"""Optuna keeps the state of CMA-ES as a pickle in the trials: read with a list of classes, so that a store of others runs no code."""

from __future__ import annotations

import io
import logging
import pickle
from typing import Any

from gazegaussian.errors import ConfigError
from helpers.optuna_private import replace_unpickler

logger = logging.getLogger(__name__)

# What a pickled optimizer of the package cmaes is made of.
_ALLOWED = {
    ("cmaes._cma", "CMA"),
    ("cmaes._sepcma", "SepCMA"),
    ("cmaes._cmawm", "CMAwM"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_LARGEST = 64_000_000  # bytes; the matrix of a hundred parameters takes 80 thousand


class _Optimizers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ConfigError(
                f"The study's store holds the state of a CMA-ES sampler that names {module[:60]}.{name[:60]}, which no optimizer "
                "does: it was not written by this program. Give another sampler, or another --study-name."
            )
        return super().find_class(module, name)


def load_optimizer(content: bytes) -> Any:
    """Read a pickled optimizer of the package cmaes.

    Raises:
        ConfigError: It holds something else, or is damaged.
    """
    if len(content) > _LARGEST:
        raise ConfigError(f"The stored state of the CMA-ES sampler has {len(content)} bytes; give another sampler.")
    try:
        return _Optimizers(io.BytesIO(content)).load()
    except ConfigError:
        raise
    except Exception as error:  # whatever bytes that mean nothing raise
        raise ConfigError(
            f"The stored state of the CMA-ES sampler is damaged ({type(error).__name__}); give another sampler."
        ) from error


def guard() -> None:
    """Make Optuna's CMA-ES sampler read its stored state by `load_optimizer`, here and wherever it is nested."""
    replace_unpickler(load_optimizer)

"""Every private part of Optuna that `helpers` use, below all rooms: what to look at when Optuna's version changes.

`requirements.txt` allows the minor version that this was tested with. No public way leads to these parts.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

__all__ = [
    "RDB_CALLS",
    "TABLES",
    "FrozenStudy",
    "replace_unpickler",
    "set_trial_attribute",
    "set_trial_number",
    "store_of",
    "study_number",
    "trial_number",
    "with_study_number",
    "wrap_stub",
]

TABLES = dict(models.BaseModel.metadata.tables)  # of a database, by name
RDB_CALLS = ("_create_new_trial", "_set_trial_param", "_get_best_trial_id", "_get_trials")  # that Optuna's cache makes


def store_of(study: optuna.Study) -> BaseStorage:
    """Store of a study, without the cache that Optuna puts before databases."""
    store: BaseStorage = getattr(study._storage, "_backend", study._storage)
    return store


def set_trial_attribute(study: optuna.Study, trial: FrozenTrial | optuna.Trial, key: str, value: Any) -> None:
    """Set a user attribute of any trial, also from another thread or of one that another process has asked for."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def study_number(study: FrozenStudy) -> int:
    """Number of a study in its store."""
    return study._study_id


def with_study_number(study: FrozenStudy, number: int) -> FrozenStudy:
    """Give a study another number, in place."""
    study._study_id = number
    return study


def trial_number(trial: FrozenTrial) -> int:
    """Number of a trial in its store, which is not that in its study."""
    return trial._trial_id


def set_trial_number(trial: FrozenTrial, number: int) -> None:
    """Give a trial another number in its store."""
    trial._trial_id = number


def replace_unpickler(loads: Callable[[bytes], Any]) -> None:
    """Let Optuna's CMA-ES sampler read its stored state by `loads`, wherever the sampler is nested."""
    module = importlib.import_module("optuna.samplers._cmaes")
    vars(module)["pickle"] = SimpleNamespace(dumps=pickle.dumps, loads=loads)


def wrap_stub(proxy: GrpcStorageProxy, wrap: Callable[[Any, str], Any]) -> None:
    """Replace the generated stub of a gRPC proxy by `wrap(stub, address)`; call it from the proxy's `_setup`."""
    client = importlib.import_module("optuna.storages._grpc.client")  # needs grpc, which is optional
    proxy._stub = wrap(proxy._stub, f"{proxy._host}:{proxy._port}")
    proxy._cache = client.GrpcClientCache(proxy._stub)

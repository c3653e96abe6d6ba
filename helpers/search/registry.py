"""Samplers and pruners by name: the only classes that a study file can reach.

Optuna's own, ours, and OptunaHub's registry where that package is installed. A name never leads to any other import.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import logging
import os
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning

from gazegaussian.errors import ConfigError, class_and_line, first_line
from helpers.optuna_private import replace_unpickler
from helpers.search.study_config import Component

Family = Literal["samplers", "pruners"]
OURS = {
    "helpers.search.predicted_final_loss.PredictedFinalLossPruner": "pruners",
    "helpers.search.curve_pruner.CurvePruner": "pruners",
    "helpers.predicted_final_loss.PredictedFinalLossPruner": "pruners",  # as study files of earlier versions name it
}
NEEDS = {"CmaEsSampler": "cmaes"}  # packages that Optuna imports at the first suggestion, too late to complain
ALLOW_HUB = "GAZEGAUSSIAN_ALLOW_HUB"
"""Environment variable: 1 allows names that make OptunaHub download code; it reaches the workers, too."""
_HUB = re.compile(r"optunahub\.(samplers|pruners)\.([a-z0-9_]+)\.([A-Za-z0-9]+)")


def allow_hub(allowed: bool) -> None:
    """Let names of OptunaHub download code, in this process and those that it starts."""
    if allowed:
        os.environ[ALLOW_HUB] = "1"


def find_class(family: Family, name: str, presets: Mapping[str, Any]) -> type:
    """Find a class by name.

    Args:
        family: What is wanted.
        name: `NAME` or `optuna.FAMILY.NAME`, `optunahub.FAMILY.PACKAGE.NAME`, or one of ours.
        presets: Short names, for the message.

    Raises:
        ConfigError: No such class, its package is not installed, or it is to be downloaded and that is not allowed.
    """
    if OURS.get(name) == family:
        module, _, bare = name.rpartition(".")
        return getattr(importlib.import_module(module), bare)
    hub = _HUB.fullmatch(name)
    if hub is not None and hub[1] == family:
        return _from_hub(name, hub[2], hub[3])
    home: ModuleType = getattr(optuna, family)
    bare = name.removeprefix(f"optuna.{family}.")
    cls = getattr(home, bare, None) if bare in home.__all__ else None
    if not inspect.isclass(cls):
        ours = "".join(f", {known}" for known, kind in OURS.items() if kind == family and ".search." in known)
        raise ConfigError(
            f"Unknown optuna.{family} {name!r}; use {', '.join(presets)}, optuna.{family}.NAME{ours} or "
            f"optunahub.{family}.PACKAGE.NAME."
        )
    if family == "samplers":
        guard()
    if bare in NEEDS and importlib.util.find_spec(NEEDS[bare]) is None:
        raise ConfigError(f"optuna.{family}.{bare} needs the package {NEEDS[bare]}: pip install {NEEDS[bare]}.")
    return cls


def _from_hub(name: str, package: str, bare: str) -> type:
    if os.environ.get(ALLOW_HUB) != "1":
        raise ConfigError(
            f"{name} is code that OptunaHub downloads and that runs here. Give --allow-hub (or set {ALLOW_HUB}=1) if you trust "
            "it, or name a sampler or pruner of Optuna."
        )
    family = name.split(".")[1]
    try:
        hub = importlib.import_module("optunahub")
    except ImportError as error:
        raise ConfigError(f"{name} needs the package optunahub, which downloads it: pip install optunahub.") from error
    try:
        cls = getattr(hub.load_module(f"{family}/{package}"), bare)
    except Exception as error:  # whatever its download or the downloaded code raises
        raise ConfigError(f"OptunaHub gives no {name}: {class_and_line(error)}") from error
    return cls


def build(family: Family, cls: type, kwargs: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    """Instantiate a sampler or pruner class.

    Args:
        family: Of the class; its experimental ones are made without Optuna's warning.
        cls: The class.
        kwargs: From the study file, must be accepted.
        offered: Given where the class takes them and `kwargs` do not name them.

    Raises:
        ConfigError: An argument is rejected.
    """
    accepted = inspect.signature(cls).parameters
    usable = {key: value for key, value in offered.items() if key in accepted}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**{**usable, **kwargs})
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"optuna.{family}.{cls.__name__} rejects {dict(kwargs)}: {first_line(error)}") from error


def nested(key: str, value: Any) -> Component | None:
    """Read an argument that describes another sampler or pruner; None when it describes none."""
    named = isinstance(value, str) and key in ("wrapped", "wrapped_pruner", "base_sampler", "independent_sampler")
    described = isinstance(value, Mapping) and "name" in value and set(value) <= {"name", "kwargs"}
    return Component.model_validate(value) if named or described else None


def described(component: Component, bare: str, arguments: Mapping[str, Any], inner: Callable[[Component], str]) -> str:
    """Put into words what is built, as `sha: SuccessiveHalvingPruner (min_resource 1, reduction_factor 2)`.

    Args:
        component: As the study file names it.
        bare: Name of its class.
        arguments: That differ from the class's own defaults.
        inner: Says the same of a sampler or pruner among the arguments.
    """
    name = component.name if component.name.endswith(bare) else f"{component.name}: {bare}"
    parts = {key: (nested(key, value), value) for key, value in arguments.items()}
    said = ", ".join(f"{key} {value if one is None else inner(one)}" for key, (one, value) in parts.items())
    return f"{name} ({said})" if said else name


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

"""The search space beside a run configuration: the baseline in it, and whether every value can be trained with."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError
from gazegaussian.fields import parameter_fields
from helpers.search.constraints import Budget, Constraint
from helpers.search.parameters import Categorical, Float, Int, Parameter
from helpers.search.study_config import Component, StudyFile, compact, load_study_file

__all__ = [
    "Budget",
    "Categorical",
    "Component",
    "Constraint",
    "Float",
    "Int",
    "Parameter",
    "StudyFile",
    "baseline",
    "check_space",
    "configured",
    "load_study_file",
    "warn_of_sizes",
]

logger = logging.getLogger(__name__)


def configured(study: StudyFile, config: RunConfig) -> dict[str, Any]:
    """Values of the run configuration for all searched parameters, active or not."""
    fields = parameter_fields(config)
    content = config.model_dump(mode="json")
    return {name: content[fields[name][0]][fields[name][1]] for name in study.parameters}


def baseline(study: StudyFile, config: RunConfig) -> dict[str, Any]:
    """Values of the run configuration for the searched parameters that act in it: the first trial.

    Raises:
        ConfigError: A value lies outside its range, so that the baseline could not be compared.
    """
    own = configured(study, config)

    def value_of(name: str) -> Any:
        if not study.parameters[name].contains(own[name]):
            raise ConfigError(
                f"The baseline's {name} = {own[name]} lies outside its search space ({compact(study.parameters[name])}); "
                "widen the space or change the run configuration."
            )
        return own[name]

    return study.active_values(value_of)


def check_space(study: StudyFile, config: RunConfig) -> None:
    """Find values that the run configuration rejects before any trial is paid for.

    Raises:
        ConfigError: Naming the parameter and the value, or a parameter whose conditions exclude each other.
    """
    own = configured(study, config)
    for name, space in study.parameters.items():
        points = list(_points(study, own, name))
        if not points:
            raise ConfigError(
                f"search space of {study.study_name!r}: {name} never acts, the conditions above it ({space.when}) exclude "
                "each other; correct its `when:`."
            )
        for point in points:
            with_parameters(config, point, f"search space of {study.study_name!r}, {name} = {point[name]}")


def _points(study: StudyFile, own: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield a whole trial for every corner of a parameter under every value of what it depends on."""
    above: dict[str, list[Any]] = {}  # ancestors and the values that a parameter below them asks for
    below = [name]
    while below:
        child = below.pop()
        for parent in study.parameters[child].when or {}:
            known = above.setdefault(parent, [])
            known += [value for value in study.parameters[child].wanted(parent) if value not in known]
            below.append(parent)
    for values in itertools.product(*above.values(), study.parameters[name].corners()):
        point = _completed(study, own, dict(zip([*above, name], values, strict=True)))
        if name in point:
            yield point


def _completed(study: StudyFile, own: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Complete some values to a whole trial, with the run configuration's own values where they lie in the space."""

    def value_of(name: str) -> Any:
        space = study.parameters[name]
        return fixed.get(name, own[name] if space.contains(own[name]) else space.corners()[0])

    return study.active_values(value_of)


def warn_of_sizes(run: RunConfig, study_file: StudyFile) -> None:
    """Say of a study with `init_from` that some trials begin with less of it than others."""
    known = parameter_fields(run)
    sizes = [name for name in study_file.parameters if name in known and known[name][0] == "model"]
    if sizes and run.init_from is not None:
        logger.warning(
            "search of %s: a trial that changes the shape of a network starts it anew, beside others that begin with the "
            "weights of %s",
            ", ".join(sizes),
            run.init_from,
        )

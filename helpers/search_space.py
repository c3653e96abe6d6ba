"""Study files: what is searched, by whom, how long.

A study file names its parameters under `search_space: category -> parameter -> {type, ...}`; every parameter is a field of
the run configuration, and an unknown one is refused with the list of the known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import optuna
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gazegaussian.config import (
    STAGES,
    RunConfig,
    check_parameter_names,
    explain,
    parameter_fields,
    read_yaml,
    with_parameters,
)
from gazegaussian.errors import ConfigError

Choice = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Categorical(_Strict):
    """One of some choices."""

    type: Literal["categorical"]
    choices: Annotated[list[Choice], Field(min_length=1)]

    def suggest(self, trial: optuna.Trial, name: str) -> Choice:
        """Ask the sampler."""
        return trial.suggest_categorical(name, self.choices)  # type: ignore[return-value]

    def contains(self, value: Any) -> bool:
        """Tell whether the baseline's value can be enqueued."""
        return value in self.choices

    def corners(self) -> list[Choice]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return self.choices


class _Range(_Strict):
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        low, high, step = (getattr(self, name, None) for name in ("min", "max", "step"))
        assert low is not None
        assert high is not None
        if low > high:
            raise ValueError(f"min {low} is above max {high}")
        if self.log and low <= 0:
            raise ValueError(f"log needs min > 0, not {low}")
        if self.log and step not in (None, 1):
            raise ValueError("log and step exclude each other")
        return self


class Int(_Range):
    """A whole number."""

    type: Literal["int"]
    min: int
    max: int
    step: Annotated[int, Field(gt=0)] = 1

    def suggest(self, trial: optuna.Trial, name: str) -> int:
        """Ask the sampler."""
        return trial.suggest_int(name, self.min, self.max, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """Tell whether the baseline's value can be enqueued."""
        return self.min <= value <= self.max and (value - self.min) % self.step == 0

    def corners(self) -> list[int]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return [self.min, self.max]


class Float(_Range):
    """A real number."""

    type: Literal["float"]
    min: float
    max: float
    step: Annotated[float, Field(gt=0)] | None = None

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        """Ask the sampler."""
        return trial.suggest_float(name, self.min, self.max, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """Tell whether the baseline's value can be enqueued."""
        return self.min <= value <= self.max

    def corners(self) -> list[float]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return [self.min, self.max]


Parameter = Annotated[Categorical | Int | Float, Field(discriminator="type")]


class Component(_Strict):
    """A sampler or pruner: a short or dotted name and its arguments."""

    name: str
    kwargs: dict[str, Any] = {}


class StudyFile(_Strict):
    """A whole study file."""

    study_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    trials: Annotated[int, Field(gt=0)]
    epochs: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    metric: str = "val_loss"
    direction: Literal["minimize", "maximize"] = "minimize"
    sampler: Component = Component(name="tpe")
    pruner: Component = Component(name="median")
    search_space: dict[str, dict[str, Parameter]]

    @model_validator(mode="after")
    def _named_once(self) -> StudyFile:
        names = [name for category in self.search_space.values() for name in category]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"search_space names {', '.join(twice)} in more than one category")
        if not names:
            raise ValueError("search_space is empty")
        return self

    @property
    def parameters(self) -> dict[str, Categorical | Int | Float]:
        """All searched parameters by name."""
        return {name: space for category in self.search_space.values() for name, space in category.items()}

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw every parameter of a trial."""
        return {name: space.suggest(trial, name) for name, space in self.parameters.items()}

    def fingerprint(self) -> str:
        """Everything that must not change between two runs of one study."""
        content = {name: space.model_dump() for name, space in sorted(self.parameters.items())}
        return json.dumps({"space": content, "metric": self.metric, "direction": self.direction}, sort_keys=True)

    def differences(self, fingerprint: str) -> list[str]:
        """Name what differs from the fingerprint of a stored study, as `what: stored -> here`."""
        old, new = json.loads(fingerprint), json.loads(self.fingerprint())
        pairs = [(name, old["space"].get(name), new["space"].get(name)) for name in {**old["space"], **new["space"]}]
        pairs += [(name, old[name], new[name]) for name in ("metric", "direction")]
        return [f"{name}: {_compact(before)} -> {_compact(now)}" for name, before, now in pairs if before != now]


def _compact(space: Any) -> str:
    """Show a space on one line, unset fields left out."""
    if not isinstance(space, dict):
        return "not searched" if space is None else str(space)
    return ", ".join(f"{k} {v}" for k, v in space.items() if v not in (None, False))


def load_study_file(path: Path, stage: str) -> StudyFile:
    """Read and check a study file.

    Args:
        path: YAML.
        stage: Whose run configuration the parameters must be fields of.

    Raises:
        ConfigError: With the file, the field and what is allowed.
    """
    try:
        study = StudyFile.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error
    check_parameter_names(STAGES[stage], list(study.parameters), str(path))
    return study


def check_space(study: StudyFile, config: RunConfig) -> None:
    """Find values that the run configuration refuses before any trial is paid for.

    Raises:
        ConfigError: Naming the parameter and the value.
    """
    for name, space in study.parameters.items():
        for value in space.corners():
            with_parameters(config, {name: value}, f"search space of {study.study_name!r}, {name} = {value}")


def baseline(study: StudyFile, config: RunConfig) -> dict[str, Any]:
    """Values of the run configuration for the searched parameters: the first trial.

    Raises:
        ConfigError: A value lies outside its range, so that the baseline could not be compared.
    """
    fields = parameter_fields(config)
    content = config.model_dump(mode="json")
    values = {}
    for name, space in study.parameters.items():
        section, field = fields[name]
        value = content[section][field]
        if not space.contains(value):
            raise ConfigError(
                f"The baseline's {name} = {value} lies outside its search space ({space.model_dump()}); widen the space "
                "or change the run configuration."
            )
        values[name] = value
    return values

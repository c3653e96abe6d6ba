"""What one searched parameter may be: a choice, a whole number or a real number, perhaps under a condition."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Choice = bool | int | float | str | None
ON_STEP = 1e-8  # steps; Optuna's own tolerance


class Strict(BaseModel):
    """Base of everything in a study file: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def same(a: Any, b: Any) -> bool:
    """Compare two values as a file means them: 1 and 1.0 are the same, 1 and true are not."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


class _Searched(Strict):
    when: Annotated[dict[str, Choice | list[Choice]], Field(min_length=1)] | None = Field(
        None,
        description="values of other parameters under which this one acts; elsewhere the run configuration's holds",
    )

    def wanted(self, parent: str) -> list[Choice]:
        """List the values of a parent under which this parameter acts."""
        value = (self.when or {})[parent]
        return value if isinstance(value, list) else [value]


class Categorical(_Searched):
    """One of some choices."""

    type: Literal["categorical"] = Field(description="one of some choices")
    choices: Annotated[list[Choice], Field(min_length=1)] = Field(description="its values")

    @model_validator(mode="after")
    def _told_apart(self) -> Categorical:
        twice = [value for index, value in enumerate(self.choices) if value in self.choices[:index]]
        if twice:
            raise ValueError(f"choices hold {twice[0]!r} twice (1, 1.0 and true are one value to the sampler)")
        return self

    @property
    def distribution(self) -> CategoricalDistribution:
        """The same as Optuna writes it."""
        return CategoricalDistribution(self.choices)

    def suggest(self, trial: optuna.Trial, name: str) -> Choice:
        """Ask the sampler."""
        return trial.suggest_categorical(name, self.choices)

    def contains(self, value: Any) -> bool:
        """Tell whether a trial could have this value."""
        return any(same(value, choice) for choice in self.choices)

    def corners(self) -> list[Any]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return list(self.choices)

    def grid(self) -> Sequence[Any] | None:
        """List all values."""
        return self.choices


class _Range(_Searched):
    log: bool = Field(False, description="search logarithms; needs min > 0")

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

    type: Literal["int"] = Field(description="a whole number")
    min: int = Field(description="smallest value")
    max: int = Field(description="largest value")
    step: Annotated[int, Field(gt=0), BeforeValidator(lambda value: 1 if value is None else value)] = Field(
        1, description="distance of neighbouring values"
    )

    @property
    def distribution(self) -> IntDistribution:
        """The same as Optuna writes it, its end on a step."""
        high = self.min + (self.max - self.min) // self.step * self.step
        return IntDistribution(self.min, high, log=self.log, step=self.step)

    def suggest(self, trial: optuna.Trial, name: str) -> int:
        """Ask the sampler."""
        space = self.distribution
        return trial.suggest_int(name, space.low, space.high, step=space.step, log=space.log)

    def contains(self, value: Any) -> bool:
        """Tell whether a trial could have this value."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.min <= value <= self.max and (value - self.min) % self.step == 0

    def corners(self) -> list[Any]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return [self.min, self.distribution.high]

    def grid(self) -> Sequence[Any] | None:
        """List all values."""
        return range(self.min, self.max + 1, self.step)


class Float(_Range):
    """A real number."""

    type: Literal["float"] = Field(description="a real number")
    min: float = Field(description="smallest value")
    max: float = Field(description="largest value")
    step: Annotated[float, Field(gt=0)] | None = Field(None, description="distance of neighbouring values; empty = any")

    @property
    def distribution(self) -> FloatDistribution:
        """The same as Optuna writes it, its end on a step."""
        with warnings.catch_warnings():  # Optuna lowers an end between two steps, and says so each time
            warnings.simplefilter("ignore")
            return FloatDistribution(self.min, self.max, log=self.log, step=self.step)

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        """Ask the sampler."""
        with warnings.catch_warnings():  # as above; lowered twice, the end may lose a step to rounding
            warnings.simplefilter("ignore")
            return trial.suggest_float(name, self.min, self.max, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """Tell whether a trial could have this value."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.min <= value <= self.max:
            return False
        steps = 0.0 if self.step is None else (value - self.min) / self.step
        return abs(steps - round(steps)) < ON_STEP

    def corners(self) -> list[Any]:
        """Values that the run configuration must accept, if it is to accept them all."""
        return [self.min, self.distribution.high]

    def grid(self) -> Sequence[Any] | None:
        """List all values; None where there is no step between them."""
        if self.step is None:
            return None
        steps = round((self.distribution.high - self.min) / self.step)
        return [self.min + index * self.step for index in range(steps + 1)]


Parameter = Categorical | Int | Float

"""What a study may cost, and what a trial must keep to count as acceptable."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field

from helpers.search.parameters import Strict

NOT_MEASURED = 1e6  # violation of a constraint whose metric is not finite; a finite one, since samplers compute with it


class Constraint(Strict):
    """A bound on a metric that an acceptable trial keeps."""

    metric: str
    sense: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, metric: str, text: str) -> Constraint:
        """Read a bound such as `>= 30`.

        Raises:
            ValueError: It is none.
        """
        match = re.fullmatch(r"\s*([<>]=)\s*(\S+)\s*", text)
        try:
            if match:
                return cls(metric=metric, sense=match[1], bound=float(match[2]))  # type: ignore[arg-type]
        except ValueError:
            pass
        raise ValueError(f"constraint of {metric} must read like '>= 30' or '<= 15', not {text!r}")

    def violation(self, value: float) -> float:
        """Measure how far a value is beyond the bound, in the metric's unit; at most 0 where it is kept."""
        if not math.isfinite(value):
            return NOT_MEASURED
        return self.bound - value if self.sense == ">=" else value - self.bound


class Budget(Strict):
    """What a study may cost; None is no limit."""

    timeout: Annotated[float, Field(gt=0)] | None = Field(None, description="seconds of one call")
    max_total_epochs: Annotated[int, Field(gt=0)] | None = Field(None, description="over all trials")
    max_compute: Annotated[float, Field(gt=0)] | None = Field(None, description="seconds of training over all trials")
    trial_timeout: Annotated[float, Field(gt=0)] | None = Field(None, description="seconds of one trial")
    min_epochs: Annotated[int, Field(gt=0)] | None = Field(None, description="of every trial before it may be pruned")

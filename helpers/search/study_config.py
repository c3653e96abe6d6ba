"""Study files: what is searched, by whom, how long.

A study file names its parameters under `search_space: category -> parameter -> {type, ...}`; every parameter is a field of
the run configuration, and an unknown one is rejected with the list of the known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import optuna
from pydantic import AfterValidator, Field, ValidationError, model_validator

from gazegaussian.config import StageRun
from gazegaussian.errors import ConfigError
from gazegaussian.fields import check_parameter_names, check_searched, explain
from gazegaussian.stages import stage_names, stage_spec
from gazegaussian.utils.yaml_files import read_yaml
from helpers.search.constraints import Budget, Constraint
from helpers.search.parameters import Categorical, Float, Int, Parameter, Strict, same
from helpers.search.trial_names import DEFAULT_NAME, make_namer, valid_study_name

Direction = Literal["minimize", "maximize"]
SHORT_SAMPLERS = {
    "tpe": "TPESampler",
    "tpe_univariate": "TPESampler",
    "random": "RandomSampler",
    "grid": "GridSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
}


class Component(Strict):
    """A sampler or pruner: a short or dotted name and its arguments. The name alone will do."""

    name: str = Field(description="short name, or dotted name of a class")
    kwargs: dict[str, Any] = Field({}, description="arguments of the class; they replace the preset's")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, content: Any) -> Any:
        if isinstance(content, str):
            return {"name": content}
        if isinstance(content, Mapping) and content.get("kwargs", {}) is None:
            return {**content, "kwargs": {}}
        return content

    @property
    def prunes(self) -> bool:
        """Tell whether a pruner can stop anything."""
        return self.name.rpartition(".")[2] not in ("none", "NopPruner")

    @property
    def sampler_class(self) -> str:
        """Bare name of a sampler's class."""
        return SHORT_SAMPLERS.get(self.name, self.name.rpartition(".")[2])


class StudyFile(Strict):
    """A whole study file."""

    study_name: Annotated[str, AfterValidator(valid_study_name)] = Field(description="also the name of its folder")
    trials: Annotated[int, Field(gt=0)] = Field(description="finished trials in total, pruned ones included")
    epochs: Annotated[int, Field(gt=0)] | None = Field(
        None, description="per trial; empty = those of the run configuration"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the sampler")
    metric: str | Annotated[list[str], Field(min_length=2)] = Field(
        "val_loss", description="a column of `metrics.csv`, or a list of several objectives, which cannot be pruned"
    )
    direction: Direction | Annotated[list[Direction], Field(min_length=2)] = Field(
        "minimize", description="`minimize` or `maximize`, one per objective"
    )
    constraints: dict[str, str] = Field({}, description='bounds of metrics, such as `gaze_error_deg: "<= 8"`')
    sampler: Component = Field(Component(name="tpe"), description="proposes the parameters of each trial")
    pruner: Component = Field(Component(name="median"), description="stops trials that promise little")
    budget: Budget = Field(Budget(), description="what the study may cost")
    keep_best: Annotated[int, Field(gt=0)] | None = Field(
        None, description="trials whose checkpoints stay; empty = all"
    )
    trial_name: str = Field(
        DEFAULT_NAME, description="of a trial's folder; fields are number and the searched parameters"
    )
    max_failures: Annotated[int, Field(gt=0)] = Field(3, description="in a row, before the study stops")
    search_space: dict[str, dict[str, Annotated[Parameter, Field(discriminator="type")]]] = Field(
        description="category -> field of the run configuration -> range; categories are free headings"
    )

    @model_validator(mode="before")
    @classmethod
    def _normal_form(cls, content: Any) -> Any:
        """A list of one objective is that objective; without a word on pruning, none where it cannot work."""
        if not isinstance(content, Mapping):
            return content
        content = dict(content)
        for key in ("metric", "direction"):
            if isinstance(content.get(key), list) and len(content[key]) == 1:
                content[key] = content[key][0]
        if content.get("budget", {}) is None:
            del content["budget"]
        if content.get("pruner", {}) is None:
            content["pruner"] = {"name": "none"}
        if "pruner" not in content:
            try:
                sampler = Component.model_validate(content.get("sampler", "tpe"))
            except ValidationError:  # met again at its place, where it can be named
                return content
            if isinstance(content.get("metric"), list) or _ignores_pruned(sampler):
                content["pruner"] = {"name": "none"}
        return content

    @model_validator(mode="after")
    def _space_is_sound(self) -> StudyFile:
        names = [name for category in self.search_space.values() for name in category]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"search_space names {', '.join(twice)} in more than one category")
        if not names:
            raise ValueError("search_space is empty")
        for name, space in self.parameters.items():
            for parent in space.when or {}:
                self._check_condition(name, parent)
        try:
            self.order()
        except CycleError as error:
            raise ValueError(f"when: {' <- '.join(error.args[1])} depend on each other in a circle") from error
        return self

    def _check_condition(self, name: str, parent: str) -> None:
        above = self.parameters.get(parent)
        if above is None:
            raise ValueError(
                f"{name} acts when {parent}, which is not searched; searched: {', '.join(self.parameters)}"
            )
        if isinstance(above, Float):
            raise ValueError(f"{name} acts when {parent}, a float; a condition needs a categorical or int parameter")
        for value in self.parameters[name].wanted(parent):
            if not above.contains(value):
                raise ValueError(f"{name} acts when {parent} is {value!r}, which {parent} never is ({compact(above)})")

    @model_validator(mode="after")
    def _search_is_sound(self) -> StudyFile:
        if len(self.metrics) != len(self.directions):
            raise ValueError(
                f"metric {self.metric} needs as many directions, not {self.direction}: give one of minimize and maximize "
                "for each"
            )
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metric names one twice: {self.metric}")
        if self.multi and self.pruner.prunes:
            raise ValueError(
                f"pruner {self.pruner.name} cannot judge {len(self.metrics)} objectives (Optuna prunes by one): give "
                "pruner: none"
            )
        if self.multi and self.sampler.sampler_class == "CmaEsSampler":
            raise ValueError(f"sampler {self.sampler.name} searches one objective only: give tpe, gp or random")
        if self.pruner.prunes and _ignores_pruned(self.sampler):
            raise ValueError(
                f"sampler {self.sampler.name} learns nothing from pruned trials: give pruner: none, or the tpe sampler "
                f"beside pruner {self.pruner.name}"
            )
        if self.epochs is not None and (self.budget.min_epochs or 0) > self.epochs:
            raise ValueError(f"budget.min_epochs {self.budget.min_epochs} is above epochs {self.epochs}")
        assert self.limits is not None  # parses every constraint
        make_namer(self.trial_name, self.parameters)
        return self

    @property
    def parameters(self) -> dict[str, Categorical | Int | Float]:
        """All searched parameters by name."""
        return {name: space for category in self.search_space.values() for name, space in category.items()}

    @property
    def metrics(self) -> list[str]:
        """Objectives."""
        return self.metric if isinstance(self.metric, list) else [self.metric]

    @property
    def directions(self) -> list[Direction]:
        """`minimize` or `maximize` per objective."""
        return self.direction if isinstance(self.direction, list) else [self.direction]

    @property
    def multi(self) -> bool:
        """Tell whether there are several objectives."""
        return len(self.metrics) > 1

    @property
    def limits(self) -> list[Constraint]:
        """Constraints, parsed."""
        return [Constraint.parse(metric, text) for metric, text in self.constraints.items()]

    def order(self) -> list[str]:
        """Names of the parameters, each after those that its condition asks about."""
        return list(
            TopologicalSorter({name: list(space.when or {}) for name, space in self.parameters.items()}).static_order()
        )

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Tell whether a parameter acts.

        Args:
            name: The parameter.
            values: Of the active ones among the parameters before it in `order`.
        """
        space = self.parameters[name]
        return all(
            parent in values and any(same(values[parent], value) for value in space.wanted(parent))
            for parent in space.when or {}
        )

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw the active parameters of a trial; the others keep the run configuration's value."""
        return self.active_values(lambda name: self.parameters[name].suggest(trial, name))

    def active_values(self, value_of: Callable[[str], Any]) -> dict[str, Any]:
        """Collect the values of the active parameters, each after those that decide whether it is active.

        Args:
            value_of: Gives the value of a parameter by its name; asked for active ones only.
        """
        values: dict[str, Any] = {}
        for name in self.order():
            if self.is_active(name, values):
                values[name] = value_of(name)
        return values

    def fingerprint(self) -> str:
        """Everything that must not change between two runs of one study."""
        space = {name: space.model_dump() for name, space in sorted(self.parameters.items())}
        for content in space.values():
            if content["when"] is None:  # studies from before there were conditions stay comparable
                del content["when"]
        content = {"space": space, "metric": self.metric, "direction": self.direction}
        if self.constraints:
            content["constraints"] = self.constraints
        return json.dumps(content, sort_keys=True)

    def differences(self, fingerprint: str) -> list[str]:
        """Name what differs from the fingerprint of a stored study, as `what: stored -> here`."""
        old = json.loads(fingerprint)
        new = json.loads(self.fingerprint())
        pairs = [(name, old["space"].get(name), new["space"].get(name)) for name in {**old["space"], **new["space"]}]
        pairs += [(name, old[name], new[name]) for name in ("metric", "direction")]
        before = old.get("constraints", {})
        now = new.get("constraints", {})
        pairs += [
            (f"constraint of {name}", before.get(name, "none"), now.get(name, "none")) for name in {**before, **now}
        ]
        return [f"{name}: {compact(before)} -> {compact(now)}" for name, before, now in pairs if before != now]


def _ignores_pruned(sampler: Component) -> bool:
    """Tell whether a sampler learns from complete trials only."""
    if sampler.sampler_class == "CmaEsSampler":
        return not sampler.kwargs.get("consider_pruned_trials", False)
    return sampler.sampler_class == "GPSampler"


def compact(space: Any) -> str:
    """Show a space on one line, unset fields left out."""
    if isinstance(space, Strict):
        space = space.model_dump()
    if not isinstance(space, dict):
        return "not searched" if space is None else str(space)
    return ", ".join(f"{k} {v}" for k, v in space.items() if v is not None and v is not False)


EXTENDS = "extends"


def is_study_file(content: Mapping[str, Any]) -> bool:
    """Tell a study file from a run configuration by its keys."""
    return "search_space" in content or EXTENDS in content


def load_study_file(path: Path, stage: str, shipped: Path | None = None) -> StudyFile:
    """Read and check a study file.

    A file may name another one, `extends: space.yaml`, and hold only what differs from it: keys and single parameters of the
    file replace those of the other one. The other file lies beside it or, for a copy of a shipped file, beside the original.

    Args:
        path: YAML.
        stage: Whose run configuration the parameters must be fields of.
        shipped: Folder of the study files that come with the stage.

    Raises:
        ConfigError: With the file, the field and what is allowed.
    """
    schema = stage_spec(stage).config
    content = _extended(path, shipped)
    if not content.keys() & {"search_space", "study_name"} and content.keys() & StageRun.model_fields.keys():
        raise ConfigError(f"{path} is a run configuration: pass it with --config. --study takes a study file.")
    try:
        study = StudyFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, StudyFile)}") from error
    names = list(study.parameters)
    try:
        check_parameter_names(schema, names, str(path))
    except ConfigError as error:
        other = next((name for name in stage_names() if _has_fields(name, names)), None)
        if other is None:
            raise
        raise ConfigError(f"{path} searches parameters of stage {other!r}, but {stage!r} was asked for.") from error
    check_searched(schema, names, str(path))
    return study


def _extended(path: Path, shipped: Path | None) -> dict[str, Any]:
    """Content of a study file, laid over that of the file which it extends."""
    content = {str(key): value for key, value in read_yaml(path).items()}
    name = content.pop(EXTENDS, None)
    if name is None:
        return content
    if not isinstance(name, str) or Path(name).name != name:
        raise ConfigError(
            f"{path}: extends expects the name of a file in the same folder, such as space.yaml, got {name!r}"
        )
    candidates = [folder / name for folder in (path.parent, shipped) if folder is not None]
    base = next((file for file in candidates if file.is_file()), None)
    if base is None:
        raise ConfigError(
            f"{path} extends {name}, which is not beside it. Copy that file, too, or write its keys here."
        )
    under = {str(key): value for key, value in read_yaml(base).items()}
    if EXTENDS in under:
        raise ConfigError(f"{base} extends another file itself: {path} cannot extend it.")
    spaces = under.get("search_space", {}), content.get("search_space", {})
    merged = {**under, **content}
    if all(isinstance(space, dict) and all(isinstance(part, dict) for part in space.values()) for space in spaces):
        first, second = spaces
        merged["search_space"] = {part: {**first.get(part, {}), **second.get(part, {})} for part in {**first, **second}}
    return merged


def _has_fields(stage: str, names: list[str]) -> bool:
    try:
        check_parameter_names(stage_spec(stage).config, names, stage)
    except ConfigError:
        return False
    return True

"""The registry of stages: what the program knows of each model that it can train and tune.

A stage of your own is a module that defines a configuration class (`gazegaussian.config.StageRun`) and a builder, and calls
`register`. The module is imported when a user names it (`load_stages`), never because a file or a stored study names a stage.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from gazegaussian.errors import ConfigError, class_and_line

ENTRY_POINTS = "gazegaussian.stages"  # the group in which an installed package names its stages


@dataclass(frozen=True)
class StageSpec:
    """A stage.

    Attributes:
        name: What the command line calls it; `stage` of the configuration class has it as default.
        config: Class of its run configurations, a `gazegaussian.config.StageRun`. Worker processes import its module, which must call `register`.
        build: Makes the stage (`gazegaussian.training.stage.Stage`) of a configuration; the global seed is set before.
            `module:NAME` is imported with the first training.
        check: Raises a `UserError` where the data or files of a configuration cannot be used; takes seconds. Likewise.
        runs: Folder of run configurations, `quick.yaml` first; None: the defaults of the class (for the stages of this
            repository: `configs/runs`).
        studies: Folder of study files, `quick.yaml` first; None: a study file must be named.
        metrics: Measured metrics that the line of an epoch shows beside the monitored one.
        pictures: What the rows of the validation pictures show, for reports.
    """

    name: str
    config: type[BaseModel]
    build: Callable[..., Any] | str
    check: Callable[[Any], None] | str | None = None
    runs: Path | None = None
    studies: Path | None = None
    metrics: tuple[str, ...] = ()
    pictures: str = ""

    def builder(self) -> Callable[..., Any]:
        """The function `build`."""
        return _imported(self.build)

    def checker(self) -> Callable[[Any], None]:
        """The function `check`; one that accepts everything where there is none."""
        return (lambda config: None) if self.check is None else _imported(self.check)

    @property
    def source(self) -> Path | None:
        """File that defines the configuration class; None where there is none."""
        file = getattr(sys.modules.get(self.config.__module__), "__file__", None)
        return None if file is None else Path(file)


_STAGES: dict[str, StageSpec] = {}
_FOLDERS: list[str] = []  # of modules that were named by their files


def register(spec: StageSpec) -> StageSpec:
    """Make a stage known to this process.

    Raises:
        ConfigError: Another stage has the name, or the configuration class has another one.
    """
    field = spec.config.model_fields.get("stage")
    named = None if field is None else field.default
    if named != spec.name:
        raise ConfigError(
            f"Stage {spec.name!r}: expected {spec.config.__name__}.stage to have the default {spec.name!r}, got {named!r}."
        )
    known = _STAGES.get(spec.name)
    if known is not None and _origin(known) != _origin(spec):
        raise ConfigError(
            f"Expected a new name for the stage of {_origin(spec)}, got {spec.name!r}, which {_origin(known)} has. Rename it."
        )
    _STAGES[spec.name] = spec
    return spec


def find_stage(name: str) -> StageSpec | None:
    """A registered stage; None where there is none of this name. Imports nothing of others."""
    return _known().get(name)


def stage_spec(name: str) -> StageSpec:
    """A registered stage. Imports nothing of others.

    Raises:
        ConfigError: There is none of this name; with what to do.
    """
    spec = find_stage(name)
    if spec is None:
        raise ConfigError(
            f"stage must be one of {', '.join(_STAGES)}, not {name!r}. Name the file of a stage of your own with "
            "--stage-module."
        )
    return spec


def stage_names() -> list[str]:
    """Names of all registered stages, those of this repository first."""
    return list(_known())


def searched_folders() -> list[str]:
    """Folders that other machines' workers need on their import path."""
    return list(_FOLDERS)


def load_stages(named: str) -> list[str]:
    """Import the module of stages that a user has named. This runs its code.

    Args:
        named: A file (`path/to/model.py`), a module (`package.model`), `package.model:NAME`, where NAME is a `StageSpec`, or
            a name in the entry point group `gazegaussian.stages`.

    Returns:
        Names of the stages that the module defines.

    Raises:
        ConfigError: There is no such module, it cannot be imported, or it registers no stage.
    """
    if named.endswith(".py"):
        module, attribute = _import_file(Path(named)), ""
    else:
        entry = _entry_point(named)
        path, _, attribute = (entry.value if entry else named).partition(":")
        module = _import(path.strip(), named)
    if attribute:
        spec = getattr(module, attribute.strip(), None)
        if not isinstance(spec, StageSpec):
            raise ConfigError(f"Expected a StageSpec named {attribute.strip()!r} in {module.__name__}, found {spec!r}.")
        return [register(spec).name]
    names = [spec.name for spec in vars(module).values() if isinstance(spec, StageSpec) and spec.name in _STAGES]
    if not names:
        raise ConfigError(
            f"{named} registers no stage: expected a line such as STAGE = register(StageSpec(...)), see docs/architecture.md."
        )
    return names


def require_stage(name: str) -> str:
    """Return the name of a stage that a user asks for, imported from an installed package where one offers it.

    Raises:
        ConfigError: There is none.
    """
    if find_stage(name) is None and _entry_point(name) is not None:
        load_stages(name)
    return stage_spec(name).name


def _known() -> dict[str, StageSpec]:
    importlib.import_module("gazegaussian.config")  # which registers the stages of this repository
    return _STAGES


def _entry_point(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)


def _origin(spec: StageSpec) -> str:
    return f"{spec.config.__module__}.{spec.config.__qualname__}"


def _imported(function: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _import_file(path: Path) -> ModuleType:
    """Import a file as the module of its name, which worker processes then import likewise."""
    if not path.is_file():
        raise ConfigError(f"Expected the file of a stage, found none at {path}.")
    path = path.resolve()
    name = path.stem
    if not name.isidentifier():
        raise ConfigError(f"Expected a file that Python can import by its name, got {path.name}. Rename it.")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: nothing in the folder takes the place of another module
        _FOLDERS.append(folder)
    try:
        module_spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        module_spec = None
    if module_spec is None or module_spec.origin is None or Path(module_spec.origin).resolve() != path:
        where = "another module" if module_spec is None else module_spec.origin or "Python itself"
        raise ConfigError(f"{path} has the name of a module of {where}. Rename the file.")
    return _import(name, str(path))


def _import(name: str, named: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:  # whatever a module raises while it is imported
        raise ConfigError(
            f"The stage module {named} cannot be imported: {class_and_line(error)}. Expected a file (model.py), a module "
            "(package.model or package.model:NAME) or the name of an installed stage."
        ) from error

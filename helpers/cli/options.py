"""Arguments and options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gazegaussian.errors import ConfigError
from gazegaussian.stages import load_stages, require_stage, stage_names, stage_spec
from helpers.utils.paths import STORAGE_VARIABLE

if TYPE_CHECKING:
    from helpers.study.spec import StudySpec


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Sweep(StrEnum):
    """What an animation moves."""

    gaze_circle = "gaze-circle"
    gaze_left_right = "gaze-left-right"
    head_left_right = "head-left-right"


class Pruner(StrEnum):
    """Presets of pruners."""

    median = "median"
    hyperband = "hyperband"
    sha = "sha"
    percentile = "percentile"
    pfl = "pfl"
    curve = "curve"
    patient = "patient"
    none = "none"


def _import_stages(named: str | None) -> str | None:
    if named is not None:
        load_stages(named)
    return named


def _known_stage(name: str) -> str:
    try:
        return require_stage(name)
    except ConfigError:
        known = ", ".join(map(repr, stage_names()))
        raise typer.BadParameter(
            f"{name!r} is not one of {known}. Name the file of a stage of your own with --stage-module."
        ) from None


StageArgument = Annotated[
    str,
    typer.Argument(
        metavar="STAGE",
        help="meshhead (stage one, neutral mesh), gazegaussian (stage two, Gaussians), or a stage of your own.",
        callback=_known_stage,
    ),
]
StageModuleOption = Annotated[
    str | None,
    typer.Option(
        "--stage-module",
        metavar="FILE",
        help="File, module or module:NAME that registers a stage of your own. This runs its code.",
        callback=_import_stages,
        is_eager=True,  # before the stage is looked up
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Run configuration [configs/runs/STAGE/quick.yaml].")
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", min=1, metavar="N", help="Epochs per training.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of HDF5 subjects [embedded synthetic heads].")
]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Where to compute [auto].")]
MeshHeadOption = Annotated[
    Path | None,
    typer.Option(
        "--meshhead",
        metavar="FILE",
        help="Stage two starts from this MeshHead checkpoint [the best of a MeshHead study under --out; the log says which].",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        metavar="FILE",
        help="Checkpoint of this stage (an imported one, or demo, the GazeGaussian that comes with the program) whose "
        "weights and sizes every training begins with. "
        "Networks that configuration or search give another shape (and a renderer of another kind) start anew and are "
        "listed. Stage two then needs no MeshHead.",
    ),
]
StudyOption = Annotated[
    Path | None, typer.Option("--study", metavar="FILE", help="Study file [configs/studies/STAGE/quick.yaml].")
]
StudyFolderArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study, in optuna_results.")]
NameOption = Annotated[
    str | None, typer.Option("--study-name", metavar="NAME", help="Another name gives another study.")
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Optuna storage URL [SQLite in the study's folder].",
        envvar=STORAGE_VARIABLE,
        show_envvar=True,
    ),
]
AllowHubOption = Annotated[
    bool,
    typer.Option(
        "--allow-hub", help="Let optunahub.samplers.PACKAGE.NAME in the study file download code, which then runs here."
    ),
]
TrialsOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Finished trials in total; more continues.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where studies land.")]
WideOption = Annotated[bool, typer.Option("--wide", help="Print all columns of tables, however wide.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
SamplerSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Seeds the sampler [study file's]; the trainings are seeded by the configuration's seed.",
    ),
]
TrainingSeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, metavar="N", help="Seeds the training [configuration's].")
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every command that trains a stage."""

    stage: StageArgument
    config: ConfigOption = None
    epochs: EpochsOption = None
    data: DataOption = None
    device: DeviceOption = None
    meshhead: MeshHeadOption = None
    init_from: InitOption = None
    stage_module: StageModuleOption = None  # imported before the stage is looked up

    def for_config(self) -> dict[str, Any]:
        """Arguments of `helpers.make_config` and `helpers.default_spec`.

        Raises:
            ConfigError: `--meshhead` with a stage that starts from none.
        """
        from gazegaussian.config import GazeGaussianRun

        if self.meshhead is not None and not issubclass(stage_spec(self.stage).config, GazeGaussianRun):
            raise ConfigError(f"--meshhead is for gazegaussian, not for {self.stage}: leave it out.")
        shared = {field.name: getattr(self, field.name) for field in fields(RunOptions) if field.name != "stage_module"}
        return {**shared, "device": self.device.value if self.device else None}


@dataclass(frozen=True, kw_only=True)
class StudyOptions(RunOptions):
    """Options of every command that takes a study file: `audit` and `estimate` see the study that `study` runs."""

    study_file: StudyOption = None
    study_name: NameOption = None
    out: OutOption = Path("optuna_results")
    allow_hub: AllowHubOption = False

    def spec(self, **more: Any) -> StudySpec:
        """Put the study together; `more` are further arguments of `helpers.default_spec`."""
        import helpers
        from helpers.search.registry import allow_hub

        allow_hub(self.allow_hub)
        return helpers.default_spec(
            **self.for_config(), study=self.study_file, study_name=self.study_name, out=self.out, **more
        )


def with_options(kind: type[RunOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for every field of an options class; it gets the object as its first argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_one_object(**given: Any) -> None:
            options = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            command(options, **given)

        hints = get_type_hints(kind, include_extras=True)
        shared = inspect.signature(kind).parameters.values()
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        parameters = [one.replace(annotation=hints[one.name]) for one in shared]
        parameters += [one.replace(kind=one.KEYWORD_ONLY) for one in own]
        with_one_object.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_one_object.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_one_object

    return decorate

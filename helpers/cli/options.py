"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from helpers.utils.paths import STORAGE_VARIABLE


class Stage(StrEnum):
    """The two stages."""

    meshhead = "meshhead"
    gazegaussian = "gazegaussian"


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


StageArgument = Annotated[Stage, typer.Argument(help="Stage one (neutral mesh) or stage two (Gaussians).")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Run configuration [configs/STAGE_quick.yaml].")]
EpochsOption = Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs per training.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of HDF5 subjects [embedded synthetic heads].")]
DeviceOption = Annotated[Device | None, typer.Option("--device", help="Where to compute [auto].")]
MeshHeadOption = Annotated[
    Path | None,
    typer.Option(
        "--meshhead",
        help="MeshHead checkpoint that stage two starts from [that of --params or of the resumed study; else the winner of "
        "a MeshHead study under --out: those of the same image size first, among them the one named like the "
        "configuration (quick.yaml: meshhead_quick), else the newest; the log says which].",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        help="Checkpoint of this stage (an imported one, or demo, the GazeGaussian that comes with the program) whose "
        "weights and sizes every training begins with. "
        "Networks that configuration or search give another shape (and a renderer of another kind) start anew and are "
        "listed. Stage two then needs no MeshHead.",
    ),
]
StudyOption = Annotated[Path | None, typer.Option("--study", help="Study file [configs/studies/STAGE/quick.yaml].")]
StudyFolderArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study, in optuna_results.")]
NameOption = Annotated[str | None, typer.Option("--study-name", help="Another name gives another study.")]
StorageOption = Annotated[
    str | None,
    typer.Option(help="Optuna storage URL [SQLite in the study's folder].", envvar=STORAGE_VARIABLE, show_envvar=True),
]
AllowHubOption = Annotated[
    bool,
    typer.Option(
        "--allow-hub", help="Let optunahub.samplers.PACKAGE.NAME in the study file download code, which then runs here."
    ),
]
TrialsOption = Annotated[int | None, typer.Option(min=1, help="Finished trials in total; more continues.")]
OutOption = Annotated[Path, typer.Option("--out", help="Where studies land.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
SamplerSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Seeds the sampler [study file's]; the trainings are seeded by the configuration's seed."
    ),
]
TrainingSeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Seeds the training [configuration's].")]

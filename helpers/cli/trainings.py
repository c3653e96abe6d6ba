"""Commands about trained models: train, export, import, redirect, animate, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.options import (
    DeviceOption,
    JsonOption,
    RunOptions,
    StageModuleOption,
    StorageOption,
    Sweep,
    TrainingSeedOption,
    WideOption,
    with_options,
)
from helpers.utils.plain_text import printable
from helpers.utils.tables import print_table

CheckpointArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A GazeGaussian, trained here or imported; demo is the one that comes with the program.",
    ),
]
ShownDataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of HDF5 subjects [with demo: synthetic people it never saw]."),
]
SubjectOption = Annotated[
    str,
    typer.Option(metavar="KEY", help="Person, such as subject0004; of those whom demo never saw subject10000."),
]
FrameOption = Annotated[int, typer.Option(min=0, metavar="N", help="Row among the person's images.")]


@with_options(RunOptions)
def train(
    options: RunOptions,
    params: Annotated[Path | None, typer.Option(metavar="FILE", help="A study's best.json or best.yaml.")] = None,
    seed: TrainingSeedOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of this training [optuna_results/train_STAGE].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train one stage without a study, or resume a training; more --epochs continue it."""
    import helpers
    from helpers.study.factory import require_inputs

    folder = out or Path("optuna_results") / f"train_{options.stage}"
    run = helpers.make_config(**options.for_config(), seed=seed, params=params, out=folder.parent)
    require_inputs(run)
    result = helpers.train(run, folder)
    last = result.history[-1] if result.history else {}
    values = {
        "metric": run.training.monitor,
        "best": result.best_metric,
        "best_epoch": result.best_epoch + 1,
        "epochs": len(result.history),
        "checkpoint": str(result.best_checkpoint),
        "last": {name: int(value) + 1 if name == "epoch" else value for name, value in last.items()},
    }
    if as_json:
        typer.echo(json.dumps(values, indent=2))
    else:
        typer.echo(
            f"{values['metric']} {result.best_metric:.5f} in epoch {result.best_epoch + 1}: {result.best_checkpoint}"
        )


def export(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of a study, or of a training.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to [SOURCE/export].")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            metavar="N",
            help="First train the study's best parameters this long [the best trial as it is].",
        ),
    ] = None,
    archive: Annotated[bool, typer.Option("--zip", help="Also as one ZIP file beside it.")] = False,
    storage: StorageOption = None,
    stage_module: StageModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the best trial into one folder to hand on and cite: checkpoint, configuration, report, origin, checksums."""
    import helpers

    exported = helpers.export(source, out, epochs, storage, archive)
    if as_json:
        values = {"folder": exported.folder, "checkpoint": exported.checkpoint, "archive": exported.archive}
        shown = {name: None if path is None else str(path) for name, path in values.items()}
        typer.echo(json.dumps({**shown, "outside": [str(path) for path in exported.outside.values()]}))
    else:
        typer.echo(f"wrote {exported.folder}" + (f" and {exported.archive}" if exported.archive else ""))
        for name, path in exported.outside.items():
            typer.echo(f"{name} is a copy of a file from outside {source}: {printable(str(path))}")


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="MeshHead or GazeGaussian of the released code.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for best.pt [optuna_results/imported_STAGE].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a published checkpoint: what comes out trains (--init-from, --meshhead), renders and evaluates here.

    It is of the variant released, which does what the released code did. What it cannot use is listed.
    """
    import helpers

    report = helpers.import_checkpoint(checkpoint, out)
    if as_json:
        values = {"checkpoint": str(report.checkpoint), "stage": report.stage, "variant": report.variant}
        typer.echo(json.dumps({**values, "unused": report.unused}, indent=2))
    else:
        typer.echo(f"{report.stage}, variant {report.variant}: {report.checkpoint}")


def redirect(
    checkpoint: CheckpointArgument,
    subject: SubjectOption,
    pitch: Annotated[
        list[float], typer.Option(metavar="DEGREES", help="-90 to 90, up is positive; repeat for a strip.")
    ],
    yaw: Annotated[
        list[float], typer.Option(metavar="DEGREES", help="-90 to 90, to the right of the image is positive; repeat.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="PNG file.")],
    data: ShownDataOption = None,
    frame: FrameOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render a person looking where you say."""
    import helpers

    path = helpers.redirect(checkpoint, data, subject, frame, pitch, yaw, out, device.value if device else "auto")
    typer.echo(json.dumps({"image": str(path)}) if as_json else f"wrote {path}")


def sweep(
    checkpoint: CheckpointArgument,
    subject: SubjectOption,
    out: Annotated[Path, typer.Option(metavar="FILE", help="GIF file; an MP4 lands beside it where ffmpeg is found.")],
    kind: Annotated[Sweep, typer.Option(help="What moves, within what training saw.")] = Sweep.gaze_circle,
    data: ShownDataOption = None,
    frame: FrameOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Animate a person: the gaze in a circle, the gaze or the head from side to side."""
    import helpers

    files = helpers.save_sweep(checkpoint, data, subject, frame, kind.value, out, device.value if device else "auto")
    paths = [str(path) for path in files]
    typer.echo(json.dumps({"files": paths}) if as_json else f"wrote {' and '.join(paths)}")


def evaluate(
    checkpoint: CheckpointArgument,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of HDF5 subjects of any published layout [with demo: synthetic people it never saw].",
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Redirections, spread evenly over the subjects.")
    ] = 200,
    gaze_network: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Published gaze network (ResNet-50 or VGG-16) that reads gaze and head pose [our judge].",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="SPLIT",
            help="Which subjects: test, val (these chose the best epoch and trial), held_out (both), train.",
        ),
    ] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for table (Markdown, JSON, CSV) and picture.")
    ] = None,
    device: DeviceOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a GazeGaussian on held-out people by the paper's protocol; the table stands beside the published values."""
    from helpers.inference import evaluation

    measured = evaluation.evaluate(
        checkpoint, data, pairs, gaze_network, out, device.value if device else "auto", split
    )
    if as_json:
        typer.echo(json.dumps(evaluation.as_values(measured), indent=2))
        return
    typer.echo(evaluation.heading(measured))
    print_table("Evaluation", evaluation.table_rows(measured), evaluation.GIVES_WAY, wide)
    for note in evaluation.all_notes(measured):
        typer.echo(note)

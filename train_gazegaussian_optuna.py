#!/usr/bin/env python3
"""Tune and train GazeGaussian: studies and what makes them trustworthy, single trainings, data sets, redirection.

A thin command line over `helpers`. Exit codes: 0 done, 2 bad input or configuration (one line), 130 interrupted, 1 else.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gazegaussian.hidden_options import hide_option
from gazegaussian.training.files import require_checkpoint

STORAGE_VARIABLE = "GAZEGAUSSIAN_STORAGE"  # a URL may hold a password: helpers.script gives it here
LONGEST_HEADER = 12  # characters on one line of a table's header
# click's, or that of the copy of click which newer versions of typer bring along.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
data_app = typer.Typer(help="Make, inspect and fetch data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")


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
        "configuration (gazegaussian_quick.yaml: meshhead_quick), else the newest; the log says which].",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        help="Checkpoint of this stage, an imported one for example, whose weights and sizes every training begins with. "
        "Networks that configuration or search give another shape (and a renderer of another kind) start anew and are "
        "listed. Stage two then needs no MeshHead.",
    ),
]
StudyOption = Annotated[Path | None, typer.Option("--study", help="Study file [configs/STAGE_quick_study.yaml].")]
StudyFolderArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study, in optuna_results.")]
NameOption = Annotated[str | None, typer.Option("--study-name", help="Another name gives another study.")]
StorageOption = Annotated[
    str | None,
    typer.Option(help="Optuna storage URL [SQLite in the study's folder].", envvar=STORAGE_VARIABLE, show_envvar=True),
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


@app.command()
def study(
    stage: StageArgument,
    config: ConfigOption = None,
    study_file: StudyOption = None,
    n_trials: TrialsOption = None,
    epochs: EpochsOption = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds; checked after every epoch.")] = None,
    storage: StorageOption = None,
    study_name: NameOption = None,
    pruner: Annotated[Pruner | None, typer.Option(help="Instead of the study file's.")] = None,
    seed: SamplerSeedOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    out: OutOption = Path("optuna_results"),
    meshhead: MeshHeadOption = None,
    init_from: InitOption = None,
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="First prove that every searched parameter matters.")
    ] = True,
    isolate: Annotated[
        bool | None,
        typer.Option("--isolate/--no-isolate", help="A process per trial: a crash costs one [on CUDA only]."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes on this machine, one per GPU; with --ray actors [as many as there is room]."
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Workers on a Ray cluster, see docs/cluster.md.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(min=0, help="With --ray: 0.5 puts two trials on a GPU [1, or 0 where there is none]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or resume it: the same command goes on where it stopped."""
    import helpers

    _quiet_optuna()
    request = helpers.default_request(
        stage.value, config, study_file, n_trials, epochs, timeout, storage, study_name,
        pruner.value if pruner else None, seed, data, device.value if device else None, out, meshhead, isolate, init_from,
        helpers.Crew(workers, ray, gpus_per_trial) if ray or gpus_per_trial is not None or (workers or 1) > 1 else None,
    )  # fmt: skip
    started = time.monotonic()
    finished = helpers.run(request, audit=audit)
    best_file = request.folder / "best.json"
    if as_json:
        best = json.loads(best_file.read_text()) if best_file.exists() else None
        ended = finished.user_attrs["stop_reason"]
        found = {"best": best, "stop_reason": ended, "trials": helpers.summary_rows(finished)}
        typer.echo(json.dumps(found, indent=2, default=str))
        return
    rows = helpers.summary_rows(finished, best_first=True)
    for row in rows:  # a column less: those of stage two fill a wide terminal
        if row.pop("baseline"):
            row["state"] = "baseline" if row["state"] == "COMPLETE" else f"baseline {row['state']}"
    _print_table(f"Study {finished.study_name}", rows)
    best_trial = helpers.best_trial(finished)
    if best_trial is not None:
        print(f"best: trial {best_trial.number}, {request.study.metric} {best_trial.value:.5f}  ({best_file})")
    print(f"ended: {finished.user_attrs['stop_reason']}")
    print(f"report: {request.folder / 'report.html'}   this call: {time.monotonic() - started:.0f} s")


@app.command("audit")
def audit_command(
    stage: StageArgument,
    config: ConfigOption = None,
    study_file: StudyOption = None,
    epochs: EpochsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    out: OutOption = Path("optuna_results"),
    meshhead: MeshHeadOption = None,
    init_from: InitOption = None,
    study_name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Does every searched parameter reach training, and does none bend the metric? Exit code 2 when not."""
    import helpers

    request = helpers.default_request(
        stage.value, config, study_file, None, epochs,
        study_name=study_name, data=data, device=device.value if device else None,
        out=out, meshhead=meshhead, init_from=init_from,
    )  # fmt: skip
    request.check(request.config)
    report = helpers.audit_study(request)
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, "parameters": report.rows()}, indent=2))
    else:
        _print_table(f"Audit of {request.study.study_name}", report.rows())
    report.raise_if_failed()


@app.command()
def estimate(
    stage: StageArgument,
    config: ConfigOption = None,
    study_file: StudyOption = None,
    n_trials: TrialsOption = None,
    epochs: EpochsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    out: OutOption = Path("optuna_results"),
    meshhead: MeshHeadOption = None,
    init_from: InitOption = None,
    study_name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure one epoch of the baseline and say what the study will need: time, memory, disk."""
    import helpers

    request = helpers.default_request(
        stage.value, config, study_file, n_trials, epochs,
        study_name=study_name, data=data, device=device.value if device else None,
        out=out, meshhead=meshhead, init_from=init_from,
    )  # fmt: skip
    found = helpers.estimate_study(request)
    if as_json:
        typer.echo(json.dumps({row["what"]: row["value"] for row in found.rows()}, indent=2))
    else:
        _print_table(f"Estimate of {request.study.study_name}", found.rows())


@app.command()
def confirm(
    folder: StudyFolderArgument,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with the same seeds for all.")] = 5,
    share: Annotated[
        float | None, typer.Option("--continue-pruned", min=0, max=1, help="Also finish this share of pruned trials.")
    ] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Is the winner better than the baseline, or lucky? Trains the best and the baseline again with several seeds."""
    import helpers

    found = helpers.confirm_study(folder, top, seeds, storage=storage)
    continued = None if share is None else helpers.continue_pruned(folder, share, storage=storage)
    study = helpers.load_study(folder, storage)
    helpers.report(study, folder)
    if as_json:
        values = {"statement": found.statement, "configurations": found.rows()}
        if continued is not None:
            values |= {"pruning": continued.statement, "continued": continued.rows()}
        typer.echo(json.dumps(values, indent=2))
        return
    _print_table(f"Confirmation of {folder.name}", found.rows())
    print(found.statement)
    if continued is not None:
        _print_table("Pruned trials, finished", continued.rows())
        print(continued.statement)


@app.command("report")
def report_command(folder: StudyFolderArgument, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Draw a study's figures and write its report: one HTML file that opens offline, and Markdown."""
    import helpers

    study = helpers.load_study(folder, storage)  # before figures are imported
    path = helpers.report(study, folder)
    typer.echo(json.dumps({"report": str(path)}) if as_json else f"wrote {path} and {path.with_suffix('.md').name}")


@app.command("dashboard")
def dashboard_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A study's, or one with studies in it.")] = Path(
        "optuna_results"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any free one.")] = 0,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show studies in optuna-dashboard, also while they run; it only reads, and ends with Ctrl-C."""
    import helpers

    board = helpers.dashboard(folder, port, storage)
    typer.echo(json.dumps({"url": board.url, "ssh": board.ssh}) if as_json else str(board))
    sys.stdout.flush()
    if not board.wait():
        raise RuntimeError("The dashboard's process has ended by itself; its last lines say why.")


@app.command()
def migrate(
    folder: StudyFolderArgument,
    study_file: Annotated[Path, typer.Option("--study", help="Study file with the new search space.")],
    study_name: Annotated[str, typer.Option(help="Name of the new study.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where its folder goes [beside the old one].")] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a search space: begin a new study from those trials of an old one that it could have run itself."""
    import helpers

    _quiet_optuna()
    found = helpers.migrate_study(folder, study_file, study_name, out, storage)
    if as_json:
        typer.echo(json.dumps({"study": study_name, "kept": found.kept, "dropped": found.dropped}, indent=2))
        return
    print(f"{len(found.kept)} trials taken over from {folder.name}, {len(found.dropped)} stay behind")
    for number, why in found.dropped.items():
        print(f"trial {number}: {why}")
    words = f"study {found.study.user_attrs['stage']} --study {study_file} --study-name {study_name}"
    epochs = json.loads(found.study.user_attrs["config"])["training"]["epochs"]
    print(f"go on with: python {Path(__file__).name} {words} --epochs {epochs} --out {out or folder.parent}")


@app.command()
def train(
    stage: StageArgument,
    config: ConfigOption = None,
    params: Annotated[Path | None, typer.Option(help="A study's best.json or best.yaml.")] = None,
    epochs: EpochsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    seed: TrainingSeedOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of this training [optuna_results/train_STAGE].")] = None,
    meshhead: MeshHeadOption = None,
    init_from: InitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one stage without a study, or go on: the same command continues, with more --epochs, too."""
    import helpers

    folder = out or Path("optuna_results") / f"train_{stage.value}"
    root = folder.parent
    run = helpers.make_config(
        stage.value, config, epochs, data, device.value if device else None, seed, meshhead, params, root, init_from
    )
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
        print(f"{values['metric']} {result.best_metric:.5f} in epoch {result.best_epoch + 1}: {result.best_checkpoint}")


@app.command("export")
def export_command(
    source: Annotated[Path, typer.Argument(help="Folder of a study, or of a training.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to [SOURCE/export].")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="First train the study's best parameters this long [the best trial as it is]."
        ),
    ] = None,
    archive: Annotated[bool, typer.Option("--zip", help="Also as one ZIP file beside it.")] = False,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the winner into one folder to hand on and cite: checkpoint, configuration, report, origin, checksums."""
    import helpers

    found = helpers.export(source, out, epochs, storage, archive)
    if as_json:
        values = {"folder": found.folder, "checkpoint": found.checkpoint, "archive": found.archive}
        typer.echo(json.dumps({name: None if path is None else str(path) for name, path in values.items()}))
    else:
        print(f"wrote {found.folder}" + (f" and {found.archive}" if found.archive else ""))


@app.command("import")
def import_command(
    checkpoint: Annotated[Path, typer.Argument(help="MeshHead or GazeGaussian checkpoint of the released code.")],
    out: Annotated[Path | None, typer.Option(help="Folder for best.pt [optuna_results/imported_STAGE].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a published checkpoint: what comes out trains (--init-from, --meshhead), renders and evaluates here.

    It is of the variant published, which does what the released code did. What it cannot use is listed.
    """
    import helpers

    found = helpers.import_checkpoint(checkpoint, out)
    if as_json:
        values = {"checkpoint": str(found.checkpoint), "stage": found.stage, "variant": found.variant}
        typer.echo(json.dumps({**values, "unused": found.unused}, indent=2))
    else:
        print(f"{found.stage}, variant {found.variant}: {found.checkpoint}")


@data_app.command("synth")
def data_synth(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    people: Annotated[int, typer.Option(min=2, help="Subjects; every fifth, at least one, is for validation.")] = 30,
    size: Annotated[int, typer.Option(min=32, help="Pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds are other people.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames per person, each seen by 18 cameras.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 works in this one.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write synthetic heads with exact labels in the published HDF5 layout, or complete an unfinished folder of them."""
    from gazegaussian.data import synthesize

    synthesize(folder, people, size, seed, frames, workers=workers)
    _print_report(folder, as_json)


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Folder of HDF5 subjects.")], as_json: JsonOption = False
) -> None:
    """Inspect a data set; exit code 2 when something in it cannot be used."""
    if not _print_report(folder, as_json):
        raise typer.Exit(2)


@data_app.command("download")
def data_download(
    name: Annotated[
        str, typer.Argument(help="eth_xgaze, columbia, mpii_face_gaze or gaze_capture (configs/datasets).")
    ],
    folder: Annotated[Path, typer.Argument(help="Where the subject files go.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only this one (train, val); repeat for several [all].")
    ] = None,
    repository: Annotated[str | None, typer.Option(help="owner/name on the hub [the one in configs/datasets].")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository.")] = "main",
    as_json: JsonOption = False,
) -> None:
    """Fetch a published data set from the model hub; the same command goes on after an interruption.

    Sizes and checksums are checked. These are photographs of people: mind the data sets' own terms of use.
    """
    from gazegaussian.data.download import download_set

    download_set(name, folder, split or (), repository, revision)
    _print_report(folder, as_json)


@app.command()
def redirect(
    checkpoint: Annotated[Path, typer.Argument(help="GazeGaussian checkpoint.")],
    data: Annotated[Path, typer.Option(help="Folder of HDF5 subjects.")],
    subject: Annotated[str, typer.Option(help="Key, such as subject0004.")],
    pitch: Annotated[list[float], typer.Option(help="Degrees, -90 to 90, up is positive; repeat for a strip.")],
    yaw: Annotated[list[float], typer.Option(help="Degrees, -90 to 90, to the right of the image is positive.")],
    out: Annotated[Path, typer.Option(help="PNG file.")],
    frame: Annotated[int, typer.Option(min=0, help="Row among the subject's images.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render a person looking where you say."""
    import helpers

    require_checkpoint(checkpoint)
    path = helpers.redirect(checkpoint, data, subject, frame, pitch, yaw, out, device.value if device else "auto")
    typer.echo(json.dumps({"image": str(path)}) if as_json else f"wrote {path}")


@app.command()
def sweep(
    checkpoint: Annotated[Path, typer.Argument(help="GazeGaussian checkpoint.")],
    data: Annotated[Path, typer.Option(help="Folder of HDF5 subjects.")],
    subject: Annotated[str, typer.Option(help="Key, such as subject0004.")],
    out: Annotated[Path, typer.Option(help="GIF file; an MP4 lands beside it where ffmpeg is found.")],
    kind: Annotated[Sweep, typer.Option(help="What moves, within what training saw.")] = Sweep.gaze_circle,
    frame: Annotated[int, typer.Option(min=0, help="Row among the subject's images.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Animate a person: the gaze in a circle, the gaze or the head from side to side."""
    import helpers

    require_checkpoint(checkpoint)
    found = helpers.save_sweep(checkpoint, data, subject, frame, kind.value, out, device.value if device else "auto")
    paths = [str(path) for path in found]
    typer.echo(json.dumps({"files": paths}) if as_json else f"wrote {' and '.join(paths)}")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="GazeGaussian checkpoint, ours or an imported one.")],
    data: Annotated[Path, typer.Option(help="Folder of HDF5 subjects of any published layout.")],
    pairs: Annotated[int, typer.Option(min=1, help="Redirections, spread evenly over the subjects.")] = 200,
    gaze_network: Annotated[
        Path | None,
        typer.Option(help="Published gaze network (ResNet-50 or VGG-16) that reads gaze and head pose [our judge]."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which subjects.")] = "val",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for table (Markdown, JSON, CSV) and picture.")
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a GazeGaussian on held-out people by the paper's protocol; the table stands beside the published values."""
    require_checkpoint(checkpoint)
    from helpers import evaluation

    found = evaluation.evaluate(checkpoint, data, pairs, gaze_network, out, device.value if device else "auto", split)
    if as_json:
        typer.echo(json.dumps(evaluation.as_values(found), indent=2))
        return
    print(evaluation.heading(found))
    _print_table("Evaluation", evaluation.table_rows(found))
    for note in evaluation.all_notes(found):
        print(note)


def _quiet_optuna() -> None:
    """Leave out what Optuna says about trials and studies, which have lines of their own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _print_report(folder: Path, as_json: bool) -> bool:
    from dataclasses import asdict

    from gazegaussian.data import check_dataset

    report = check_dataset(folder)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, default=str))
    else:
        splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
        print(f"{report.root}: {report.data_set}, {report.subjects} subjects ({splits})")
        print(f"{report.images} usable images of {'/'.join(map(str, report.sizes))} px, {report.skipped} skipped")
        for file, problem in report.problems.items():
            print(f"problem with {file}: {problem}")
        print("ok" if report.ok else "not usable as it is")
    return report.ok


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    known = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in known if any(row.get(name) not in (None, "") for row in rows)]
    for name in names:
        # Long names are broken after an underscore, not in the middle of a word.
        table.add_column(name.replace("_", "_\n") if len(name) > LONGEST_HEADER else name, overflow="fold")
    for row in rows:
        cells = [row.get(name) for name in names]
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else "" if c is None else str(c) for c in cells))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)


def main() -> None:
    """Run the command line with its exit codes."""
    from gazegaussian.errors import NonFiniteError, UserError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("kaleido").setLevel(logging.WARNING)
    logging.getLogger("choreographer").setLevel(logging.WARNING)
    try:
        code = app(standalone_mode=False)  # else typer itself prints errors, on several lines
    except UsageError as error:
        _say_usage(error)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteError as error:
        print(f"error: the training diverged: {error}. A lower lr usually helps.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(130)
    if code == 130:  # typer turns Ctrl-C into this exit code
        _say_interrupted()
    if code:
        sys.exit(code)


def _say_usage(error: Exception) -> None:
    """One line, or the whole help where no command was given."""
    text = error.format_message()  # type: ignore[attr-defined]
    context = error.ctx  # type: ignore[attr-defined]
    if text.startswith("Usage:"):
        print(text, file=sys.stderr)
        return
    line = " ".join(text.replace("Value error, ", "").split())
    command = context.command_path if context else Path(__file__).name
    print(f"error: {line}{'' if line[-1] in '.?!' else '.'} See {command} --help.", file=sys.stderr)


def _say_interrupted() -> None:
    print("interrupted; the same command goes on where this one stopped", file=sys.stderr)


def _hide_password() -> None:
    """Begin again without the storage's URL where it may hold a password: everybody may read command lines."""
    words, hidden = hide_option(sys.argv[1:], "--storage", STORAGE_VARIABLE)
    if os.name == "posix" and any("://" in url and not url.startswith("sqlite") for url in hidden.values()):
        python = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]  # with its own options
        os.execve(sys.executable, [*python, *words], {**os.environ, **hidden})


if __name__ == "__main__":
    _hide_password()
    main()

"""Commands about studies: run, check, estimate, confirm, report, show, migrate."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gazegaussian.utils.counts import counted
from helpers.cli.options import (
    JsonOption,
    Pruner,
    SamplerSeedOption,
    StageModuleOption,
    StorageOption,
    StudyFolderArgument,
    StudyOptions,
    TrialsOption,
    WideOption,
    with_options,
)
from helpers.cli.printing import quiet_optuna
from helpers.utils.paths import COMMAND, STORAGE_VARIABLE
from helpers.utils.tables import print_table

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)


@with_options(StudyOptions)
def study(
    options: StudyOptions,
    n_trials: TrialsOption = None,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Checked after every epoch.")] = None,
    storage: StorageOption = None,
    pruner: Annotated[Pruner | None, typer.Option(help="Instead of the study file's.")] = None,
    seed: SamplerSeedOption = None,
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
            min=1,
            metavar="N",
            help="Trials side by side on this machine, 1 one at a time [on a CPU one per core with one thread each, on CUDA 1]; "
            "with --ray actors [as many as there is room].",
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT|local", help="Workers on a Ray cluster, see docs/cluster.md.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SHARE", help="With --ray: 0.5 puts two trials on a GPU [1, or 0 where there is none]."
        ),
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or resume it with the same command."""
    import helpers

    quiet_optuna()
    spec = options.spec(
        n_trials=n_trials,
        timeout=timeout,
        storage=storage,
        pruner=pruner.value if pruner else None,
        seed=seed,
        isolate=isolate,
        pool=helpers.WorkerPool(workers, ray, gpus_per_trial),
    )
    started = time.monotonic()
    finished = helpers.run(spec, audit=audit)
    best_file = spec.folder / "best.json"
    ended = finished.user_attrs.get("stop_reason", "all trials were copied")  # of a study that was migrated
    if as_json:
        best = json.loads(best_file.read_text()) if best_file.exists() else None
        result = {"best": best, "stop_reason": ended, "trials": helpers.summary_rows(finished, folder=spec.folder)}
        typer.echo(json.dumps(result, indent=2, default=str))
        return
    _print_trials(finished, best_file, wide)
    typer.echo(f"ended: {ended}")
    page = spec.folder / "report.html"
    typer.echo(
        f"report: {page if page.is_file() else 'after the first epoch'}   this call: {time.monotonic() - started:.0f} s"
    )


def _print_trials(finished: optuna.Study, best_file: Path, wide: bool) -> None:
    """Print all trials, and the best one, or those that no other beats in every objective."""
    import helpers
    from helpers.results.ranking import metric_names
    from helpers.results.tables import pareto_rows, searched

    parameters = searched(finished)
    gives_way = [*parameters, "note"]
    rows = helpers.trial_rows(finished, best_first=True, folder=best_file.parent)
    print_table(f"Study {finished.study_name}", rows, gives_way, wide)
    best = helpers.best_trial(finished)
    if best is None:
        typer.echo("best: none, no trial is complete")
    elif len(finished.directions) > 1:
        print_table("Pareto front: no trial beats these in every objective", pareto_rows(finished), parameters, wide)
        typer.echo(f"best in {metric_names(finished)[0]}: trial {best.number}  ({best_file})")
    else:
        typer.echo(f"best: trial {best.number}, {metric_names(finished)[0]} {best.value:.5f}  ({best_file})")


@with_options(StudyOptions)
def audit(options: StudyOptions, wide: WideOption = False, as_json: JsonOption = False) -> None:
    """Does every searched parameter reach training, and does none change the metric? Exit code 2 when not."""
    import helpers
    from helpers.search.samplers_and_pruners import require_search

    spec = options.spec()
    require_search(spec.study, spec.config.training.epochs)
    logger.info("audit of %s: loading torch and the renderers", spec.study.study_name)
    spec.check(spec.config)
    report = helpers.audit_study(spec)
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, "parameters": report.rows()}, indent=2))
    else:
        print_table(f"Audit of {spec.study.study_name}", report.rows(), report.GIVES_WAY, wide)
    report.raise_if_failed()


@with_options(StudyOptions)
def estimate(
    options: StudyOptions, n_trials: TrialsOption = None, wide: WideOption = False, as_json: JsonOption = False
) -> None:
    """Measure one epoch of the baseline and say what the study will need: time, memory, disk."""
    import helpers
    from helpers.search.samplers_and_pruners import require_search

    spec = options.spec(n_trials=n_trials)
    require_search(spec.study, spec.config.training.epochs)
    logger.info("estimate of %s: loading torch and the renderers", spec.study.study_name)
    estimated = helpers.estimate_study(spec)
    if as_json:
        typer.echo(json.dumps({row["what"]: row["value"] for row in estimated.rows()}, indent=2))
    else:
        print_table(f"Estimate of {spec.study.study_name}", estimated.rows(), wide=wide)


def confirm(
    folder: StudyFolderArgument,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Trainings of each, with the same seeds for all.")] = 5,
    share: Annotated[
        float | None,
        typer.Option(
            "--continue-pruned", min=0, max=1, metavar="SHARE", help="Also finish this share of pruned trials."
        ),
    ] = None,
    vary_meshhead: Annotated[
        bool, typer.Option("--vary-meshhead", help="Stage two: train its MeshHead with every seed, too.")
    ] = False,
    storage: StorageOption = None,
    stage_module: StageModuleOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Is the best trial better than the baseline, or lucky? Trains the best and the baseline again with several seeds."""
    import helpers

    confirmation = helpers.confirm_study(folder, top, seeds, storage=storage, vary_meshhead=vary_meshhead)
    continued = None if share is None else helpers.continue_pruned(folder, share, storage=storage)
    study = helpers.load_study(folder, storage)
    helpers.report(study, folder, storage=storage)
    if as_json:
        values = {"statement": confirmation.statement, "configurations": confirmation.rows()}
        if continued is not None:
            values |= {"pruning": continued.statement, "continued": continued.rows()}
        typer.echo(json.dumps(values, indent=2))
        return
    print_table(f"Confirmation of {folder.name}", confirmation.rows(), wide=wide)
    typer.echo(confirmation.statement)
    if continued is not None:
        print_table("Pruned trials, finished", continued.rows(), wide=wide)
        typer.echo(continued.statement)


def report(
    folder: StudyFolderArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where to; the study's folder is then only read [the study's folder]."
        ),
    ] = None,
    storage: StorageOption = None,
    stage_module: StageModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a study's figures and write its report: one HTML file that opens offline, and Markdown."""
    import helpers

    study = helpers.load_study(folder, storage)  # before figures are imported
    logger.info("report of %s: drawing the figures", folder)
    path = helpers.report(study, folder, out, storage)
    typer.echo(json.dumps({"report": str(path)}) if as_json else f"wrote {path} and {path.with_suffix('.md').name}")


def dashboard(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A study's, or one with studies in it.")] = Path(
        "optuna_results"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="On 127.0.0.1; 0 takes any free one.")] = 0,
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


def migrate(
    folder: StudyFolderArgument,
    study_file: Annotated[Path, typer.Option("--study", metavar="FILE", help="Study file with the new search space.")],
    study_name: Annotated[str, typer.Option(metavar="NAME", help="Name of the new study.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where its folder goes [beside the old one].")
    ] = None,
    storage: StorageOption = None,
    stage_module: StageModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a search space: begin a new study from those trials of an old one that it could have run itself."""
    import helpers
    from helpers.study.migration import continuation

    quiet_optuna()
    migration = helpers.migrate_study(folder, study_file, study_name, out, storage)
    if as_json:
        typer.echo(json.dumps({"study": study_name, "kept": migration.kept, "dropped": migration.dropped}, indent=2))
        return
    typer.echo(
        f"{counted(len(migration.kept), 'trial')} copied from {folder.name}, {len(migration.dropped)} not copied"
    )
    for number, why in migration.dropped.items():
        typer.echo(f"trial {number}: {why}")
    args = continuation(migration.study, (out or folder.parent) / study_name, study_file)
    args += [] if stage_module is None else ["--stage-module", stage_module]
    where = "" if storage is None else f" (with {STORAGE_VARIABLE} or --storage as here)"
    typer.echo(f"Resume with{where}: {COMMAND} {shlex.join(args)}")

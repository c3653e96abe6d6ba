"""The verbs behind the command line and the notebooks."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import optuna
from pydantic import ValidationError

from gazegaussian.build import train_run
from gazegaussian.config import GazeGaussianRun, RunConfig, explain, load_run, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.initial_weights import adopt_sizes
from gazegaussian.training.run_folder import find_run
from gazegaussian.training.trainer import TrainResult
from helpers.audit import audit_study
from helpers.environment import store_environment
from helpers.files import read_winner, say_if_new
from helpers.isolation import isolated_by_default
from helpers.live_store import snapshots_of
from helpers.mesh_heads import best_mesh_head, recorded_mesh_head
from helpers.migration import Migration, migrate
from helpers.naming import TrialNamer
from helpers.plots import save_figures, study_figures
from helpers.ray_audit import audit_on_ray
from helpers.ray_team import LOCAL
from helpers.records import STAGE, begun_study, find_study, stored_init, stored_meshhead
from helpers.report import write_report
from helpers.results import save_results
from helpers.run_lock import sole_training
from helpers.search_space import Component, load_study_file, warn_of_sizes
from helpers.stopping import forget_stop
from helpers.storage import open_storage
from helpers.study import Crew, StudyRequest, require_comparable, run_study
from helpers.study_file import LONGEST_NAME, NAME

logger = logging.getLogger(__name__)

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def make_config(
    stage: str,
    config: Path | None = None,
    epochs: int | None = None,
    data: Path | None = None,
    device: str | None = None,
    seed: int | None = None,
    meshhead: Path | None = None,
    params: Path | None = None,
    out: Path = Path("optuna_results"),
    init_from: Path | None = None,
) -> RunConfig:
    """Read a run configuration and apply what the command line says.

    Args:
        stage: `meshhead` or `gazegaussian`.
        config: YAML file; default `configs/<stage>_quick.yaml`.
        epochs: Instead of the configured number.
        data: Folder of HDF5 subjects instead of the embedded synthetic heads.
        device: `auto`, `cpu` or `cuda`.
        seed: Of the training.
        meshhead: Checkpoint that stage two starts from; default the one that the trials behind `params` started from,
            else the configuration's, else that of a MeshHead study under `out` (see `best_mesh_head`).
        params: A study's `best.json` or `best.yaml`.
        out: Where studies are.
        init_from: Checkpoint of the same stage whose weights, variant and sizes the training begins with; `params` may
            change the sizes again, and the neural renderer stays the configured one.

    Raises:
        ConfigError: Unknown stage, file, parameter or value.
        CheckpointError: `init_from` cannot be used.
    """
    path = config or CONFIGS / f"{stage}_quick.yaml"
    run = load_run(path, stage)
    init_from = init_from or run.init_from
    if init_from is not None:
        run = adopt_sizes(run, init_from)
    winner = read_winner(params, stage) if params else {"parameters": {}}
    changes: dict[str, Any] = dict(winner["parameters"])
    named = {"epochs": epochs, "root": str(data) if data else None, "device": device, "seed": seed}
    changes.update({name: value for name, value in named.items() if value is not None})
    run = with_parameters(run, changes, str(params) if params else "command line")
    if isinstance(run, GazeGaussianRun) and init_from is not None:
        if meshhead is not None:
            raise ConfigError("Expected --meshhead or --init-from, got both: a GazeGaussian brings its points with it.")
        run = run.model_copy(update={"meshhead_checkpoint": None})
    elif isinstance(run, GazeGaussianRun):
        found = recorded_mesh_head(winner, params) if params and meshhead is None else None
        chosen = meshhead or found or run.meshhead_checkpoint
        if chosen is None:  # the study of the same sizes: gazegaussian_demo.yaml goes with meshhead_demo
            chosen = best_mesh_head(out, run.data.image_size, Path(path).stem.replace(stage, "meshhead"))
        run = run.model_copy(update={"meshhead_checkpoint": chosen})
    return run


def default_request(
    stage: str,
    config: Path | None = None,
    study: Path | None = None,
    n_trials: int | None = None,
    epochs: int | None = None,
    timeout: float | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    data: Path | None = None,
    device: str | None = None,
    out: Path = Path("optuna_results"),
    meshhead: Path | None = None,
    isolate: bool | None = None,
    init_from: Path | None = None,
    crew: Crew | None = None,
    trial_name: str | TrialNamer | None = None,
) -> StudyRequest:
    """Put a study together from files and overrides (see `make_config` for the shared ones).

    Args:
        stage: `meshhead` or `gazegaussian`.
        config: Run configuration.
        study: Study file; default `configs/<stage>_quick_study.yaml`.
        n_trials: Finished trials in total.
        epochs: Per trial.
        timeout: Seconds of this call, checked after every epoch.
        storage: Optuna storage URL; default SQLite in the study's folder.
        study_name: Instead of the study file's.
        pruner: One of `helpers.pruning.PRUNERS`.
        seed: Of the sampler.
        data: Folder of HDF5 subjects.
        device: `auto`, `cpu` or `cuda`.
        out: Where studies land.
        meshhead: Checkpoint that stage two starts from; default the one that the study's trials had, if it has some.
        isolate: Every trial in a process of its own; default on CUDA only.
        init_from: Checkpoint whose weights every trial begins with (see `make_config`); default the one of the study's
            trials, if it has some.
        crew: Several workers; default this process alone.
        trial_name: How trials are called, instead of the study file's format string (see `helpers.naming`).

    Raises:
        ConfigError: A file or value cannot be used.
    """
    study_file = load_study_file(study or CONFIGS / f"{stage}_quick_study.yaml", stage)
    overrides: dict[str, Any] = {"trials": n_trials, "epochs": epochs, "study_name": study_name, "seed": seed}
    overrides["trial_name"] = trial_name if isinstance(trial_name, str) else None
    if pruner is not None:
        overrides["pruner"] = Component(name=pruner)
    overrides = {name: value for name, value in overrides.items() if value is not None}
    try:
        study_file = type(study_file).model_validate({**study_file.model_dump(), **overrides})
    except ValidationError as error:
        raise ConfigError(f"command line: {explain(error, type(study_file))}") from error
    if meshhead is None or init_from is None:
        begun = begun_study(study_file.study_name, Path(out) / study_file.study_name, storage)
        init_from = stored_init(begun) if begun and init_from is None else init_from
        meshhead = stored_meshhead(begun) if begun and meshhead is None and init_from is None else meshhead
    run = make_config(stage, config, study_file.epochs, data, device, None, meshhead, None, out, init_from)
    if run.init_from is not None:
        warn_of_sizes(run, study_file)
    if isolate is None and (crew is None or crew.ray is None):  # else known where the workers are
        isolate = isolated_by_default(run)
    namer = None if isinstance(trial_name, str) else trial_name
    return StudyRequest(run, study_file, Path(out), storage, timeout, isolate=isolate, trial_name=namer, crew=crew)


def run(request: StudyRequest, figures: bool = True, audit: bool = True) -> optuna.Study:
    """Run or resume a study, draw its figures and write its report.

    Args:
        request: What to run and where.
        figures: Draw figures and write the report at the end.
        audit: First make sure that every searched parameter reaches training and that none bends the ruler; a passed
            audit is remembered in the study's folder.

    Raises:
        ConfigError: The audit names a parameter, or the study was begun differently; nothing else has been spent.
    """
    forget_stop(request.folder)
    if audit:
        require_comparable(request)
        if request.crew is not None and request.crew.ray not in (None, LOCAL):
            audit_on_ray(request)
        else:
            request.check(request.config)  # makes the data, with its progress bar
            audit_study(request).raise_if_failed()
    study = run_study(request, forget_stops=False)  # one that came during the audit counts
    if figures:
        report(study, request.folder)
    return study


def report(study: optuna.Study, folder: Path) -> Path:
    """Draw a study's figures and write its report, `report.html` and `report.md`.

    Args:
        study: A loaded study.
        folder: Its folder.

    Returns:
        The HTML file; it needs no network.
    """
    figures = study_figures(study)
    save_figures(study, Path(folder) / "figures", figures=figures)
    return write_report(study, Path(folder), figures)


def load_study(folder: Path, storage: str | None = None) -> optuna.Study:
    """Open a study of `optuna_results` for reading.

    Args:
        folder: The study's folder.
        storage: URL, when the study is not in the folder's own SQLite file.

    Raises:
        ConfigError: There is no such study.
    """
    return find_study(Path(folder), storage)


def migrate_study(
    folder: Path, study: Path, study_name: str, out: Path | None = None, storage: str | None = None
) -> Migration:
    """Begin a study with another search space from the comparable trials of an old one.

    Args:
        folder: Of the old study; it stays as it is.
        study: Study file of the new one.
        study_name: Of the new one; running a study of this name with that file goes on from the trials taken over.
        out: Where the new folder goes; default beside the old one.
        storage: URL for both, when the old study is not in its folder's own store.

    Raises:
        ConfigError: Nothing can be compared (stage, metric, epochs), or the name is taken.
    """
    old = load_study(folder, storage)
    if re.fullmatch(NAME, study_name) is None or len(study_name) > LONGEST_NAME:  # it becomes the name of a folder
        raise ConfigError(
            f"--study-name must be at most {LONGEST_NAME} letters, digits, '_', '.' or '-', not {study_name!r}."
        )
    new_folder = Path(out or Path(folder).parent) / study_name
    store = open_storage(storage, new_folder)
    study_file = load_study_file(study, old.user_attrs.get(STAGE, "meshhead"))
    migration = migrate(old, study_file, study_name, store)
    save_results(migration.study, new_folder)
    if storage is None and (copies := snapshots_of(new_folder)) is not None:
        copies.save()
    return migration


def train(config: RunConfig, out: Path) -> TrainResult:
    """Train one stage without a study, or go on with a training of the same configuration; with more epochs, too.

    Args:
        config: What to train.
        out: Folder of the training; everything lands there.

    Returns:
        The finished training; one that was finished before is left as it is.

    Raises:
        ConfigError: `out` holds a training of another configuration, or another process trains there now.
        UserError: Data, checkpoint or device cannot be used.
        NonFiniteError: The training diverged, or its metric was never finite.
    """
    before = find_run(config, Path(out))
    if before is not None and before.finished:
        logger.info(
            "%s: already finished after %d epochs: nothing to do; give another --out or delete the folder",
            out,
            len(before.result.history),
        )
        return before.result
    say_if_new(Path(out))
    with sole_training(Path(out)):
        store_environment(Path(out), config)
        result = train_run(config, Path(out), resume=before is not None)
    if result.best_epoch < 0:
        raise NonFiniteError(f"{config.training.monitor} was not finite in any of {len(result.history)} epochs")
    return result

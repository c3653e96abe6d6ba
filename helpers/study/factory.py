"""Makes run configurations and study specs from files and overrides, and opens stored studies.

Bad input is rejected here within a fraction of a second: torch is imported only to read a checkpoint or a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from pydantic import ValidationError

from gazegaussian.config import DataConfig, GazeGaussianRun, RunConfig, parse_run, with_parameters
from gazegaussian.data.splits import load_split
from gazegaussian.errors import ConfigError
from gazegaussian.fields import explain
from gazegaussian.training.checkpoint_files import require_checkpoint
from gazegaussian.utils.yaml_files import read_yaml
from helpers.results.best_files import read_best
from helpers.results.lookup import created_study, find_study, stored_init, stored_meshhead
from helpers.results.mesh_heads import best_mesh_head, recorded_mesh_head
from helpers.search.space import StudyFile, load_study_file, warn_of_sizes
from helpers.search.study_config import is_study_file
from helpers.search.trial_names import TrialNamer
from helpers.study.spec import StudySpec, WorkerPool
from helpers.utils.files import require_no_file
from helpers.utils.paths import run_file, study_file_of, study_folder_of


def make_config(
    stage: str,
    *,
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
        stage: `meshhead`, `gazegaussian`, or a registered stage of your own (`gazegaussian.stages`).
        config: YAML file; default `configs/runs/<stage>/quick.yaml`, for a stage of your own its `quick.yaml`.
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

    >>> helpers.make_config("meshhead", epochs=3, device="cpu").training.epochs
    3
    """
    path = config or run_file(stage)
    # Without files the class of a stage of your own says it all.
    run = parse_run({}, stage) if config is None and not path.is_file() else _read_run(path, stage)
    init_from = init_from or run.init_from
    if init_from is not None:
        require_checkpoint(init_from)
        from gazegaussian.training.initial_weights import adopt_sizes

        run = adopt_sizes(run, init_from)
    best = read_best(params, stage) if params else {"parameters": {}}
    changes: dict[str, Any] = dict(best["parameters"])
    named = {"epochs": epochs, "root": str(data) if data else None, "device": device, "seed": seed}
    changes.update({name: value for name, value in named.items() if value is not None})
    run = with_parameters(run, changes, str(params) if params else "command line")
    if isinstance(run, GazeGaussianRun) and init_from is not None:
        if meshhead is not None:
            raise ConfigError("Expected --meshhead or --init-from, got both: a GazeGaussian brings its points with it.")
        run = run.model_copy(update={"meshhead_checkpoint": None})
    elif isinstance(run, GazeGaussianRun):
        recorded = recorded_mesh_head(best, params) if params and meshhead is None else None
        chosen = meshhead or recorded or run.meshhead_checkpoint
        if chosen is None:  # the study of the same sizes: runs/gazegaussian/demo.yaml goes with meshhead_demo
            chosen = best_mesh_head(out, run.data.image_size, f"meshhead_{Path(path).stem}")
        run = run.model_copy(update={"meshhead_checkpoint": chosen})
    return run


def _read_run(path: Path, stage: str) -> RunConfig:
    content = read_yaml(path)
    if is_study_file(content):
        raise ConfigError(
            f"{path} is a study file: pass it with --study, which `study`, `audit` and `estimate` have. --config takes a run "
            "configuration."
        )
    return parse_run(content, stage, str(path))


def require_inputs(config: RunConfig) -> None:
    """Reject a configured folder that holds no data set, or a MeshHead that is not there; what files hold is looked at later.

    Raises:
        DataError: With what to do.
        CheckpointError: Likewise.
    """
    if config.data.root is not None and isinstance(config.data, DataConfig):
        load_split(config.data.root)
    if isinstance(config, GazeGaussianRun) and config.meshhead_checkpoint is not None:
        require_checkpoint(config.meshhead_checkpoint)


def default_spec(
    stage: str,
    *,
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
    pool: WorkerPool | None = None,
    trial_name: str | TrialNamer | None = None,
) -> StudySpec:
    """Put a study together from files and overrides (see `make_config` for the shared ones).

    Args:
        stage: As for `make_config`.
        config: Run configuration.
        study: Study file; default the stage's quick one.
        n_trials: Finished trials in total.
        epochs: Per trial.
        timeout: Seconds of this call, checked after every epoch.
        storage: Optuna storage URL; default SQLite in the study's folder.
        study_name: Instead of the study file's.
        pruner: One of `helpers.search.samplers_and_pruners.PRUNERS`.
        seed: Of the sampler.
        data: Folder of HDF5 subjects.
        device: `auto`, `cpu` or `cuda`.
        out: Where studies land.
        meshhead: Default: the one that the study's trials started from, if it has some.
        isolate: Every trial in a process of its own; default on CUDA only.
        init_from: Default: the one of the study's trials, if it has some.
        pool: Who runs the trials; default `WorkerPool()`: on a CPU a trial per core side by side, on CUDA this process alone.
        trial_name: How trials are called, instead of the study file's format string (see `helpers.search.trial_names`).

    Raises:
        UserError: A file or value cannot be used, or no data or MeshHead is at the path that is named.

    >>> helpers.default_spec("meshhead", n_trials=20, study_name="mine").study.trials
    20
    """
    overrides: dict[str, Any] = {"trials": n_trials, "epochs": epochs, "study_name": study_name, "seed": seed}
    overrides |= {"pruner": pruner, "trial_name": trial_name if isinstance(trial_name, str) else None}
    study_file = _overridden(load_study_file(study or study_file_of(stage), stage, study_folder_of(stage)), overrides)
    require_no_file(Path(out) / study_file.study_name)
    if meshhead is None or init_from is None:
        existing = created_study(study_file.study_name, Path(out) / study_file.study_name, storage)
        init_from = stored_init(existing) if existing and init_from is None else init_from
        meshhead = stored_meshhead(existing) if existing and meshhead is None and init_from is None else meshhead
    run = make_config(
        stage,
        config=config,
        epochs=study_file.epochs,
        data=data,
        device=device,
        meshhead=meshhead,
        out=out,
        init_from=init_from,
    )
    warn_of_sizes(run, study_file)
    if pool is None or pool.ray is None:  # else known where the workers are
        require_inputs(run)
    return StudySpec(
        run,
        study_file,
        out=Path(out),
        storage=storage,
        timeout=timeout,
        isolate=isolate,
        trial_name=None if isinstance(trial_name, str) else trial_name,
        pool=pool or WorkerPool(),
    )


def _overridden(study_file: StudyFile, overrides: Mapping[str, Any]) -> StudyFile:
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return StudyFile.model_validate({**study_file.model_dump(), **given})
    except ValidationError as error:
        raise ConfigError(f"command line: {explain(error, StudyFile)}") from error


def load_study(folder: Path, storage: str | None = None) -> optuna.Study:
    """Open a study of `optuna_results` for reading.

    Args:
        folder: The study's folder.
        storage: URL, when the study is not in the folder's own SQLite file.

    Raises:
        ConfigError: There is no such study.

    >>> helpers.load_study(Path("optuna_results/digits")).study_name
    'digits'
    """
    return find_study(Path(folder), storage)

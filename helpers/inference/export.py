"""The verbs that hand a trained model on: which one it is, found before torch and plotly are imported."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from gazegaussian.config import with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError
from helpers.analysis.retrain import open_source, rerun, trial_config
from helpers.inference.export_marks import CHECKPOINT, own_files
from helpers.results.tables import best_trial, trial_dir
from helpers.storage.location import has_store, study_folders
from helpers.storage.store_places import require_plain
from helpers.study.compatibility import find_study

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    folder: Path
    checkpoint: Path
    archive: Path | None  # the same as one file
    outside: tuple[Path, ...] = ()  # files of elsewhere than `source` that are in it


@dataclass(frozen=True)
class Origin:
    """Where the exported model comes from."""

    run: Path  # folder of its training
    study: optuna.Study | None = None
    study_folder: Path | None = None
    trial: FrozenTrial | None = None


def export(
    source: Path, out: Path | None = None, epochs: int | None = None, storage: str | None = None, archive: bool = False
) -> Exported:
    """Put the winner of a study, or a training, into one folder ready to be cited.

    The checkpoint is copied byte for byte and loads on its own. Running it again gives the same files. Nothing is
    overwritten or deleted but what an earlier export wrote and what is still as that wrote it.

    Args:
        source: Folder of a study, or of a training (one that holds `best.pt`).
        out: Where to; default `export` in `source`. A mounted Drive will do.
        epochs: Of a study: train its best parameters this long first, in the study's folder. An interrupted training goes
            on, a finished one is taken. None: the best trial as it is.
        storage: Optuna storage URL, when the study is not in its folder's own store.
        archive: Also write the folder as one ZIP file beside it.

    Raises:
        ConfigError: No such study or training, nothing finished in it, or `out` holds something else.
        NonFiniteError: The training diverged.
    """
    source = Path(source)
    out = source / "export" if out is None else Path(out)
    _require_own(out)
    if source.is_dir():
        require_plain(source)
    if (source / CHECKPOINT).is_file() and not has_store(source):
        if epochs is not None:
            raise ConfigError(
                "Expected --epochs with a study; a training goes on with `train --epochs`, then `export`."
            )
        origin = Origin(source)
    elif storage is None and source.is_dir() and not has_store(source) and not study_folders(source):
        raise ConfigError(
            f"{source} holds neither a study (study.db) nor a training ({CHECKPOINT}). Name the folder of one, such as "
            "optuna_results/NAME of `study` or the --out of `train`."
        )
    else:
        origin = _winner(source, epochs, storage)
    logger.info("export of %s: loading torch and plotly", source)
    from helpers.inference.export_folder import write_folder  # torch, plotly

    packed, outside = write_folder(origin, out, archive)
    return Exported(out, out / CHECKPOINT, packed, outside)


def train_winner(folder: Path, epochs: int, storage: str | None = None) -> Path:
    """Train the best parameters of a study for more epochs; a finished training is left as it is.

    Args:
        folder: Of the study; the training lands in its `final_N_epochs`.
        epochs: At least those of a trial.
        storage: As for `export`.

    Returns:
        Folder of the training.

    Raises:
        ConfigError: No such study, no complete trial, or too few epochs.
        NonFiniteError: The training diverged.
    """
    source = open_source(folder, storage=storage)
    trial = _best(source.study)
    config = trial_config(source.config, trial.params)
    length = config.training.epochs
    if epochs < length:
        raise ConfigError(f"Expected at least the {length} epochs of a trial for the final training, got {epochs}.")
    run = Path(folder) / f"final_{epochs}_epochs"
    place = trial_dir(trial, Path(folder))
    # A schedule that depends on the number of epochs cannot be entered half-way.
    goes_on = place is not None and (place / "last.pt").is_file() and config.optim.lr_decay == 1
    found = rerun(source, with_parameters(config, {"epochs": epochs}), run, place if goes_on else None)
    if found.value is None:
        raise NonFiniteError(f"the final training of trial {trial.number}: {found.reason}")
    return run


def _winner(folder: Path, epochs: int | None, storage: str | None) -> Origin:
    study = find_study(folder, storage)
    trial = _best(study)
    if epochs is not None:
        return Origin(train_winner(folder, epochs, storage), study, folder, trial)
    run = trial_dir(trial, folder)
    if run is None or not (run / CHECKPOINT).is_file():
        raise ConfigError(
            f"The checkpoint of trial {trial.number}, the best of {folder}, is gone. Give --epochs to train its parameters "
            "again."
        )
    return Origin(run, study, folder, trial)


def _best(study: optuna.Study) -> FrozenTrial:
    trial = best_trial(study)
    if trial is None:
        raise ConfigError(f"Study {study.study_name!r} has no complete trial to export. Run more trials first.")
    return trial


def _require_own(out: Path) -> None:
    if (out.exists() or out.is_symlink()) and not own_files(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"Expected a new, empty or exported folder as --out, {out} holds something else. Name another."
        )

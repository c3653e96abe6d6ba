"""What an export is made of: the best trial of a study, or one training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from gazegaussian.config import with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.utils.counts import counted
from helpers.analysis.retrain import open_source, rerun, trial_config
from helpers.inference.export_marks import CHECKPOINT
from helpers.results.lookup import find_study
from helpers.results.ranking import best_trial
from helpers.results.run_files import trial_dir


@dataclass(frozen=True)
class Origin:
    """Where the exported model comes from."""

    run: Path  # folder of its training
    study: optuna.Study | None = None
    study_folder: Path | None = None
    trial: FrozenTrial | None = None


def train_best(folder: Path, epochs: int, storage: str | None = None) -> Path:
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

    >>> helpers.train_best(Path("optuna_results/digits"), epochs=3).as_posix()
    'optuna_results/digits/final_3_epochs'
    """
    source = open_source(folder, storage=storage)
    trial = _best(source.study)
    config = trial_config(source.config, trial.params)
    length = config.training.epochs
    if epochs < length:
        raise ConfigError(
            f"Expected at least the {counted(length, 'epoch')} of a trial for the final training, got {epochs}."
        )
    run = Path(folder) / f"final_{epochs}_epochs"
    trial_folder = trial_dir(trial, Path(folder))
    # A schedule that depends on the number of epochs cannot be entered half-way.
    resumes = trial_folder is not None and (trial_folder / "last.pt").is_file() and config.optim.lr_decay == 1
    result = rerun(source, with_parameters(config, {"epochs": epochs}), run, trial_folder if resumes else None)
    if result.value is None:
        raise NonFiniteError(f"the final training of trial {trial.number}: {result.reason}")
    return run


def best_origin(folder: Path, epochs: int | None, storage: str | None) -> Origin:
    """The best trial of a study, or its longer training."""
    study = find_study(folder, storage)
    trial = _best(study)
    if epochs is not None:
        return Origin(train_best(folder, epochs, storage), study, folder, trial)
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

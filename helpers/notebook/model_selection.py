"""Which trained models the sliders show: the best trial of the newest study, two trials to compare, or named checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from gazegaussian.config import load_run
from gazegaussian.errors import ConfigError
from gazegaussian.training.checkpoint_files import DEMO, checkpoint_file, require_checkpoint
from helpers.results.attributes import BASELINE
from helpers.results.best_files import best_files
from helpers.results.lookup import find_study
from helpers.results.ranking import best_trial, metric_names, objective_key, ranked_trials, signs
from helpers.results.run_files import trial_dir
from helpers.search.trial_names import is_smoke_test

STAGE = "gazegaussian"


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint and what to call it."""

    checkpoint: Path
    title: str


def best_model(out: Path) -> TrainedModel:
    """Best trial of the newest GazeGaussian study under a folder; without one, its newest training, then a smoke test.

    Where there is none of these it is the model that comes with the program.

    Raises:
        ConfigError: That is missing, too.
    """
    study = next(reversed(_studies(Path(out))), None)
    if study is None:
        model = _newest_training(Path(out))
    elif is_smoke_test(study.name):
        model = _newest_training(Path(out)) or _best_of(study)
    else:
        model = _best_of(study) or _newest_training(Path(out))
    if model is None and checkpoint_file(Path(DEMO)).is_file():
        model = shipped_model()
    if model is None:
        raise ConfigError(
            f"Expected a finished GazeGaussian study or training under {out}, found none. Run notebook 02, or name a "
            "checkpoint."
        )
    return model


def shipped_model() -> TrainedModel:
    """The model that comes with the program."""
    return TrainedModel(Path(DEMO), "demo, the shipped model")


def rivals(out: Path) -> list[TrainedModel]:
    """Two trials of the newest GazeGaussian study to look at beside each other: the best trial and the baseline.

    When the baseline has won, or its checkpoint was removed, the next best trial takes its place.

    Returns:
        Two models, or fewer when no more checkpoints are there.
    """
    studies = _studies(Path(out))
    if not studies:
        return []
    study = find_study(studies[-1])
    ranked = [trial for trial in ranked_trials(study) if _checkpoint(trial, studies[-1]) is not None]
    ranked[1:] = sorted(ranked[1:], key=lambda trial: not trial.user_attrs.get(BASELINE))
    return [TrainedModel(path, _title(study, t)) for t in ranked[:2] if (path := _checkpoint(t, studies[-1]))]


def named(checkpoints: Sequence[Path | str]) -> list[TrainedModel]:
    """Models of checkpoints, called by the last two parts of their paths.

    Raises:
        CheckpointError: One is not there.
    """
    paths = [Path(path) for path in checkpoints]
    for path in paths:
        require_checkpoint(path, hint="Name the best.pt of a GazeGaussian training, or demo.")
    return [shipped_model() if str(path) == DEMO else TrainedModel(path, "/".join(path.parts[-2:])) for path in paths]


def _studies(out: Path) -> list[Path]:
    """Folders of GazeGaussian studies with a best trial: the newest one last, smoke tests first."""
    files = [path for path, _ in best_files(out, STAGE)]
    files.sort(key=lambda path: (not is_smoke_test(path.parent.name), path.stat().st_mtime))
    return [path.parent for path in files]


def _best_of(folder: Path) -> TrainedModel | None:
    """Best trial of a study; None where its checkpoint is gone."""
    study = find_study(folder)
    best = best_trial(study)
    checkpoint = None if best is None else _checkpoint(best, folder)
    return None if best is None or checkpoint is None else TrainedModel(checkpoint, _title(study, best))


def _newest_training(out: Path) -> TrainedModel | None:
    trained = [path for path in out.glob("*/best.pt") if _is_training(path.parent)]
    newest = max(trained, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else TrainedModel(newest, newest.parent.name)


def _is_training(folder: Path) -> bool:
    try:
        return load_run(folder / "config.yaml").stage == STAGE
    except ConfigError:
        return False


def _checkpoint(trial: FrozenTrial, folder: Path) -> Path | None:
    run_dir = trial_dir(trial, folder)
    path = None if run_dir is None else run_dir / "best.pt"
    return path if path is not None and path.is_file() else None


def _title(study: optuna.Study, trial: FrozenTrial) -> str:
    value = signs(study)[0] * objective_key(study, trial)[0]
    name = "baseline" if trial.user_attrs.get(BASELINE) else "pruned" if trial.state.name == "PRUNED" else ""
    return (
        f"{study.study_name}, trial {trial.number}{f' ({name})' if name else ''}: {metric_names(study)[0]} {value:.4g}"
    )

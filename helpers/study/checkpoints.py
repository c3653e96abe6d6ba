"""Checkpoints on disk: is there room, who takes them over, which ones stay."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import CheckpointError
from gazegaussian.utils.atomic_files import atomic_copy, is_temporary
from helpers.results.ranking import baseline_trial, best_trial, is_feasible, objective_key
from helpers.results.run_files import trial_dir
from helpers.results.trial_states import ancestors
from helpers.storage.location import local_runs

logger = logging.getLogger(__name__)

CHECKPOINTS = ("best.pt", "last.pt")
_WRITING_SECONDS = 20.0  # longer than it takes to write a table
_WITH_COPY = 3  # best, last, and the temporary file that becomes one of them


def expected_bytes(folder: Path) -> int:
    """Disk that a trial needs, by the largest checkpoint in the folder of a study; 0 before there is one."""
    sizes = (path.stat().st_size for name in CHECKPOINTS for path in folder.glob(f"*/{name}"))
    return _WITH_COPY * max(sizes, default=0)


def bytes_of_model(weights: int) -> int:
    """Disk that a trial needs: weights and two moments of Adam per checkpoint.

    Args:
        weights: Bytes of what is trained.
    """
    return _WITH_COPY * 3 * weights


def copy_checkpoint(trials: list[FrozenTrial], trial: optuna.Trial, study_folder: Path, folder: Path) -> bool:
    """Copy what the interrupted trial left that this one continues.

    That trial may have been killed before it had taken over anything itself; then the one before it has it.

    Args:
        trials: All of the study, by number.
        trial: The one that resumes.
        study_folder: Where trials are.
        folder: Of the trial.

    Returns:
        Whether there is a checkpoint to resume from.
    """
    from gazegaussian.training.run_folder import resume_point  # torch

    left = [(before, place) for before in ancestors(trials, trial) for place in _places(before, study_folder)]
    for before, old in left:
        remove_unfinished(old)
        try:
            start = resume_point(old)
        except CheckpointError as error:
            logger.warning("trial %d cannot resume trial %d: %s", trial.number, before.number, error)
            start = None
        if start is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if (old / "images").is_dir():
            shutil.copytree(old / "images", folder / "images", dirs_exist_ok=True)
        # last.pt in the end: it says that all is there. A damaged one stays where it is.
        for name in ("metrics.csv", "best.pt", *(["last.pt"] if start.name == "last.pt" else [])):
            if (old / name).exists():
                atomic_copy(old / name, folder / name)
        if old.parent == local_runs(study_folder):
            shutil.rmtree(old, ignore_errors=True)
        return True
    return False


def _places(trial: FrozenTrial, folder: Path) -> Iterator[Path]:
    """Where a trial has left files: on this machine's local disk, which is ahead of the study's folder, and in that."""
    runs = local_runs(folder)
    stored = Path(trial.user_attrs.get("folder") or "")
    if runs is not None and stored.name not in ("", "..") and (runs / stored.name).is_dir():
        yield runs / stored.name
    own = _own_dir(trial, folder)
    if own is not None:
        yield own


def _own_dir(trial: FrozenTrial, folder: Path) -> Path | None:
    """Folder of a trial inside the study's own: the storage may name, and a link may lead to, any other place.

    Trials copied by `migrate` name the folders of the old study, which is left as it is.
    """
    place = trial_dir(trial, folder)
    return place if place is not None and place.resolve().parent == folder.resolve() else None


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a trial's folder."""
    for path in filter(is_temporary, folder.rglob(".*.tmp")):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a study's folder; other workers may be writing new ones."""
    for path in filter(is_temporary, folder.glob(".*.tmp")):
        with suppress(FileNotFoundError):  # its writer was alive, and has finished it now
            if time.time() - path.stat().st_mtime > _WRITING_SECONDS:
                path.unlink()


def remove_old_checkpoints(study: optuna.Study, folder: Path, keep_best: int) -> list[int]:
    """Remove the checkpoints of pruned, failed and beaten trials; tables and pictures stay.

    The best ones and the baseline's stay, whatever is not dominated in a study of several objectives, and what an
    interrupted trial needs to resume. Nothing is removed as long as no trial is complete.

    Args:
        study: The study.
        folder: Its folder.
        keep_best: How many complete trials keep theirs.

    Returns:
        Numbers of the trials that lost theirs now.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    ranked = sorted(complete, key=lambda t: (not is_feasible(t), objective_key(study, t), t.number))
    kept = {trial.number for trial in ranked[:keep_best]} | _irreplaceable(study)
    unfinished = [trial for trial in trials if not trial.state.is_finished()]
    kept |= {t.number for trial in unfinished for t in (trial, *ancestors(trials, trial))}
    thinned = []
    for trial in trials:
        place = None if trial.number in kept else _own_dir(trial, folder)
        if place is not None and _remove(place / name for name in CHECKPOINTS):
            thinned.append(trial.number)
    if thinned:
        logger.info("checkpoints removed of %s (keep_best %d)", ", ".join(f"trial {n}" for n in thinned), keep_best)
    return thinned


def _irreplaceable(study: optuna.Study) -> set[int]:
    best = best_trial(study)
    front = study.best_trials if len(study.directions) > 1 else []
    return {trial.number for trial in (*front, best, baseline_trial(study)) if trial is not None}


def _remove(paths: Iterable[Path]) -> bool:
    """Remove files; tell whether there was one. A file that cannot go only costs space."""
    removed = False
    for path in paths:
        try:
            path.unlink()
            removed = True
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("%s cannot be removed: %s", path, error.strerror)
    return removed

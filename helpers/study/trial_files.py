"""Files of trials: where a trial trains, how its files reach the study's folder, what is copied and kept.

Where the study's folder is mounted (Google Drive), a training there would replace its checkpoints after every epoch, whose older
versions fill Drive's trash, and a mount that dies would end it. So the training runs in a folder on a local disk. Tables and
pictures follow after every epoch, checkpoints at intervals, and all of it at the trial's end, flushed.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import CheckpointError, first_line
from gazegaussian.utils.atomic_files import atomic_copy, is_temporary
from helpers.results.ranking import baseline_trial, best_trial, is_feasible, objective_key
from helpers.results.run_files import trial_dir
from helpers.results.trial_states import ancestors
from helpers.storage.location import local_runs
from helpers.study.spec import StudySpec
from helpers.utils.files import patiently

logger = logging.getLogger(__name__)

CHECKPOINTS = ("best.pt", "last.pt")
_WRITING_SECONDS = 20.0  # longer than it takes to write a table
_WITH_COPY = 3  # best, last, and the temporary file that becomes one of them
CHECKPOINT_SECONDS = 600.0
"""How much training a lost machine may cost, for checkpoints that reach the study's folder less often than epochs end."""


class TrialFiles:
    """Files of one trial while it trains.

    Args:
        spec: Of the study.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._runs = local_runs(spec.folder) if spec.one_machine else None
        self._folder: Path | None = None
        self._checkpoints_at = time.monotonic()

    def begin(self, folder: Path) -> Path:
        """Name the folder to train in.

        Args:
            folder: Of the trial, in the study's.
        """
        self._folder = folder
        return self._work or folder

    def epoch(self) -> None:
        """Bring what an epoch left; a folder that has gone is only warned about, since the next call brings it, too."""
        due = time.monotonic() - self._checkpoints_at >= CHECKPOINT_SECONDS
        try:
            self._bring(checkpoints=due)
        except OSError as error:
            logger.warning("files of the trial stay on the local disk for now: %s", first_line(error))
            return
        if due:
            self._checkpoints_at = time.monotonic()

    @contextmanager
    def brought(self) -> Iterator[None]:
        """Bring everything when the training in a `with` block ends: pruned or complete at any price, else if that is possible.

        Raises:
            OSError: The study's folder cannot be written, however often that is tried; the local files stay.
        """
        try:
            yield
        except optuna.TrialPruned:
            self._end()
            raise
        except BaseException:
            with suppress(OSError):  # that error is the one to tell of; the next try finds the local files
                self._bring(checkpoints=True)
            raise
        self._end()

    @property
    def _work(self) -> Path | None:
        return None if self._runs is None or self._folder is None else self._runs / self._folder.name

    def _end(self) -> None:
        patiently(lambda: self._bring(checkpoints=True))
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)

    def _bring(self, checkpoints: bool) -> None:
        """Copy what is new or newer, each file whole and flushed; `last.pt` in the end, which says that all is there."""
        if self._work is None or self._folder is None or not self._work.is_dir():
            return
        files = [path for path in self._work.rglob("*") if path.is_file() and not is_temporary(path)]
        for path in sorted(files, key=lambda path: (path.name in CHECKPOINTS, path.name)):
            target = self._folder / path.relative_to(self._work)
            if (path.name in CHECKPOINTS and not checkpoints) or _is_same(path, target):
                continue
            atomic_copy(path, target)


def _is_same(path: Path, target: Path) -> bool:
    try:
        there = target.stat()
    except FileNotFoundError:
        return False
    here = path.stat()
    return here.st_size == there.st_size and abs(here.st_mtime - there.st_mtime) < 2.0  # what such folders round to


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

    That trial may have been killed before it had copied anything itself; then the one before it has the checkpoint.

    Args:
        trials: All of the study, by number.
        trial: The one that resumes.
        study_folder: Where trials are.
        folder: Of the trial.

    Returns:
        Whether there is a checkpoint to resume from.
    """
    from gazegaussian.training.run_folder import resume_point  # torch

    left = [
        (before, run_dir) for before in ancestors(trials, trial) for run_dir in _trial_folders(before, study_folder)
    ]
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


def _trial_folders(trial: FrozenTrial, folder: Path) -> Iterator[Path]:
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
    run_dir = trial_dir(trial, folder)
    return run_dir if run_dir is not None and run_dir.resolve().parent == folder.resolve() else None


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
    removed = []
    for trial in trials:
        run_dir = None if trial.number in kept else _own_dir(trial, folder)
        if run_dir is not None and _remove(run_dir / name for name in CHECKPOINTS):
            removed.append(trial.number)
    if removed:
        logger.info("checkpoints removed of %s (keep_best %d)", ", ".join(f"trial {n}" for n in removed), keep_best)
    return removed


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

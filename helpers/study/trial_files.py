"""Where a trial trains, and how what it writes reaches the study's folder.

Where that folder is mounted (Google Drive), a training there would replace its checkpoints after every epoch, whose older
versions fill Drive's trash, and a mount that dies would end it. So the training runs in a folder on a local disk. Tables and
pictures follow after every epoch, checkpoints at intervals, and all of it at the trial's end, flushed.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna

from gazegaussian.errors import first_line
from gazegaussian.utils.atomic_files import atomic_copy, is_temporary
from helpers.storage.location import local_runs
from helpers.study.checkpoints import CHECKPOINTS
from helpers.study.spec import StudySpec
from helpers.utils.files import patiently

logger = logging.getLogger(__name__)

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

"""What a trial leaves for the dashboard: validation images of its best epoch, learning curve, metrics per epoch.

They go through Optuna's artifact store, a folder `artifacts` beside the trials, so that every tool that knows Optuna finds them.
A trial is attached to once, when it ends; an interrupted one leaves nothing, since another trial continues it.
"""

from __future__ import annotations

import logging
import math
import tempfile
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from gazegaussian.errors import first_line
from helpers.results.pictures import draw_curve, read_png
from helpers.results.run_files import METRICS, best_epoch, best_image, curve_of
from helpers.utils.formatting import with_unit

logger = logging.getLogger(__name__)

ARTIFACTS = "artifacts"  # folder in that of a study
CURVE = "learning_curve.png"
VALIDATION = "validation_images.png"
WIDEST = 1600  # pixels of an attached picture; the whole one stays in the trial's folder


def attach(trial: optuna.Trial, run_dir: Path, metric: str, minimize: bool) -> None:
    """Attach what a trial left to it; a failure is logged and costs the trial nothing.

    Args:
        trial: At its end, not yet told.
        run_dir: Its folder, in that of the study.
        metric: The first objective.
        minimize: Whether small values are good.
    """
    try:
        _attach(trial, run_dir, metric, minimize)
    except Exception as error:  # a full disk, a damaged picture: the trial has its value all the same
        logger.warning("trial %d: nothing is attached for the dashboard: %s", trial.number, first_line(error))


def _attach(trial: optuna.Trial, run_dir: Path, metric: str, minimize: bool) -> None:
    known = {meta.filename for meta in get_all_artifact_meta(trial)}
    folder = run_dir.parent / ARTIFACTS
    with tempfile.TemporaryDirectory() as name:
        files = [path for path in _prepared(run_dir, Path(name), metric, minimize) if path.name not in known]
        if files:
            folder.mkdir(exist_ok=True)
        for path in files:
            upload_artifact(study_or_trial=trial, file_path=str(path), artifact_store=_Whole(folder))


class _Whole(FileSystemArtifactStore):
    """Leaves no half of a file behind."""

    def write(self, artifact_id: str, content_body: object) -> None:
        try:
            super().write(artifact_id, content_body)  # type: ignore[arg-type]
        except BaseException:
            with suppress(ArtifactNotFound):
                self.remove(artifact_id)
            raise


def _prepared(run_dir: Path, work: Path, metric: str, minimize: bool) -> list[Path]:
    """Write or find the files to attach."""
    files = []
    picture = best_image(run_dir, metric, minimize)
    if picture is not None:
        target = work / VALIDATION
        image = read_png(picture)
        image.thumbnail((WIDEST, WIDEST))
        image.save(target)
        files.append(target)
    values = curve_of(run_dir, metric)
    best = best_epoch(values, minimize)
    if best is not None and all(map(math.isfinite, values)):
        draw_curve(values, best, with_unit(metric), run_dir.name).save(work / CURVE)
        files.append(work / CURVE)
    if (run_dir / METRICS).is_file():
        files.append(run_dir / METRICS)
    return files

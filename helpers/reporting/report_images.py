"""Validation images of the best trials, for notebooks as files and for the report as small JPEGs within the page."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from PIL import Image

from gazegaussian.errors import first_line
from gazegaussian.stages import find_stage
from helpers.results.pictures import read_png
from helpers.results.ranking import baseline_trial, metric_names, objective_key, ranked_trials, signs
from helpers.results.run_files import best_image, trial_dir
from helpers.utils.formatting import with_unit

logger = logging.getLogger(__name__)

IN_REPORT = 3  # side by side
# pixels and JPEG quality in the report: at most 0.2 MB each; labels of the widest pictures are still 10 pixels high
WIDEST = 1040
QUALITY = 85


@dataclass(frozen=True)
class ReportPicture:
    """The images of a trial's best epoch."""

    caption: str
    file: Path
    data: str  # the picture itself, as a data URI


def top_pictures(study: optuna.Study, folder: Path, k: int) -> list[tuple[Path, str]]:
    """Validation images of the k best trials that kept some, with captions; best first."""
    return _pictured(study, folder, ranked_trials(study)[: max(k, 0)])


def report_pictures(study: optuna.Study, folder: Path) -> list[ReportPicture]:
    """Pictures of the best trials, the last of them the baseline's, whichever place it has."""
    best = ranked_trials(study)[:IN_REPORT]
    first = baseline_trial(study)
    if first is not None and first.number not in {trial.number for trial in best}:
        best = [*best[: IN_REPORT - 1], first]
    pictures = []
    for path, caption in _pictured(study, folder, best):
        try:
            data = _embedded(path)
        # A damaged file costs the report one picture.
        except (OSError, ValueError) as error:
            logger.warning("left out of the report: %s (%s)", path, first_line(error))
            continue
        epoch = int(path.stem.removeprefix("epoch_"))
        pictures.append(ReportPicture(f"{caption}, epoch {epoch}", path, data))
    return pictures


def picture_key(study: optuna.Study) -> str:
    """Say what the rows and columns of the pictures are."""
    spec = find_stage(study.user_attrs.get("stage", ""))
    rows = spec.pictures if spec else ""
    return "Validation images of each trial's best epoch. Columns: held-out images, the same for all trials. " + (
        f"Rows: {rows}." if rows else "Rows: as labelled."
    )


def picture_lines(study: optuna.Study, pictures: Sequence[ReportPicture]) -> list[str]:
    """Say what the pictures are, and why the best trial's may look worse than the baseline's beside it."""
    lines = [picture_key(study)]
    first = baseline_trial(study)
    if len(pictures) > 1 and first is not None and ranked_trials(study)[0].number != first.number:
        lines.append(
            f"{with_unit(metric_names(study)[0])} is a mean over all validation images, of which these are a few: the best "
            "trial's may look worse than the baseline's, mostly where the gain is small."
        )
    return lines


def _pictured(study: optuna.Study, folder: Path, trials: Sequence[FrozenTrial]) -> list[tuple[Path, str]]:
    metric = metric_names(study)[0]
    sign = signs(study)[0]
    first = baseline_trial(study)
    images = []
    for trial in trials:
        run_dir = trial_dir(trial, folder)
        picture = None if run_dir is None else best_image(run_dir, metric, sign == 1)
        if picture is not None:
            state = "" if trial.state == TrialState.COMPLETE else f" ({trial.state.name.lower()})"
            state = " (baseline)" if first is not None and trial.number == first.number else state
            images.append(
                (
                    picture,
                    f"trial {trial.number}{state}: {with_unit(metric)} {sign * objective_key(study, trial)[0]:.4g}",
                )
            )
    return images


def _embedded(path: Path) -> str:
    image = read_png(path)
    image.thumbnail((WIDEST, 2 * WIDEST), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

"""Opens the panels of notebook 04: the winner under sliders, and two models on the same sliders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from gazegaussian.build import load_judge, resolve_data
from gazegaussian.config import parse_run
from gazegaussian.training.checkpoints import load_checkpoint
from helpers.redirect_models import TrainedModel, named, rivals, winner
from helpers.redirect_panel import RedirectPanel
from helpers.redirect_scene import Painter, People

logger = logging.getLogger(__name__)
SWEEP_FOLDER = "redirected"


def open_panel(
    checkpoint: Path | str | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    device: str = "auto",
) -> RedirectPanel:
    """Open a GazeGaussian under sliders for gaze and head pose.

    Args:
        checkpoint: What to show; None: the best trial of the newest study under `out`, else the newest training there.
        data: Folder of HDF5 subjects; None: what the checkpoint was trained on.
        out: Where studies are, and where sweeps are written.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: There is no such model or data.
    """
    chosen = winner(Path(out)) if checkpoint is None else named([checkpoint])[0]
    return _panel([chosen], data, Path(out), device)


def open_comparison(
    checkpoints: Sequence[Path | str] | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    device: str = "auto",
) -> RedirectPanel:
    """Open several models beside each other on the same sliders.

    Args:
        checkpoints: What to compare; None: the winner and the baseline (or the next best) of the newest study under `out`.
        data: As for `open_panel`, of the first checkpoint.
        out: As for `open_panel`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: There are no such models or data.
    """
    chosen = rivals(Path(out)) if checkpoints is None else named(checkpoints)
    if not chosen:
        chosen = [winner(Path(out))]
    if len(chosen) < 2:
        logger.warning("only %s has a checkpoint; name two checkpoints to compare", chosen[0].title)
    return _panel(chosen, data, Path(out), device)


def _panel(models: Sequence[TrainedModel], data: Path | str | None, out: Path, device: str) -> RedirectPanel:
    run = parse_run(load_checkpoint(models[0].checkpoint, "gazegaussian")["config"])
    people = People(resolve_data(run) if data is None else Path(data))
    judge = load_judge(people.root)
    painters = [Painter(model.checkpoint, model.title, people, judge, device) for model in models]
    return RedirectPanel(painters, people, out / SWEEP_FOLDER)

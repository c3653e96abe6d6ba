"""Opens the panels of notebook 04: the best trial under sliders, and two models on the same sliders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from IPython.display import Image, display

from gazegaussian.build import resolve_data
from gazegaussian.config import parse_run
from gazegaussian.data import HeadDataset
from gazegaussian.errors import CheckpointError
from gazegaussian.inference import load_judge, load_redirector
from gazegaussian.training.checkpoint_files import DEMO, require_checkpoint
from gazegaussian.training.checkpoints import load_checkpoint
from gazegaussian.utils.image_grid import save_image
from helpers.inference.scene import People, Renderer
from helpers.inference.shipped import describe, is_packed, unseen_people
from helpers.inference.strip import redirection_strip
from helpers.notebook.display import say
from helpers.notebook.model_selection import TrainedModel, best_model, named, rivals
from helpers.notebook.redirect_panel import RedirectPanel
from helpers.search.trial_names import is_smoke_test
from helpers.utils.runtime import lost_studies_hint

logger = logging.getLogger(__name__)
SWEEP_FOLDER = "redirected"
COMMANDS = ((0.0, -20.0), (0.0, -10.0), (0.0, 0.0), (0.0, 10.0), (0.0, 20.0))  # of the strip: pitch and yaw, degrees
STRIP_WIDTH = 850  # pixels


def open_panel(
    checkpoint: Path | str | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    device: str = "auto",
) -> RedirectPanel:
    """Open a GazeGaussian under sliders for gaze and head pose.

    Args:
        checkpoint: What to show; None: the best trial of the newest study under `out`, else the newest training there, else
            the model that comes with the program, `demo`.
        data: Folder of HDF5 subjects; None: what the checkpoint was trained on, for a packed model people it never saw.
        out: Where studies are, and where sweeps are written.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: There is no such model or data.
    """
    chosen = best_model(Path(out)) if checkpoint is None else named([checkpoint])[0]
    if checkpoint is None and is_smoke_test(chosen.checkpoint.parent.parent.name):
        say('A smoke test has learnt nothing yet: set checkpoint = "demo" to see a face.')
    if str(chosen.checkpoint) == DEMO:
        say(describe(chosen.checkpoint))
        if checkpoint is None and (hint := lost_studies_hint(Path(out)).strip()):
            say(f"No study under {out}. {hint}")
    return _panel([chosen], data, Path(out), device)


def open_comparison(
    checkpoints: Sequence[Path | str] | None = None,
    data: Path | str | None = None,
    out: Path | str = "optuna_results",
    device: str = "auto",
) -> RedirectPanel:
    """Open several models beside each other on the same sliders.

    Args:
        checkpoints: What to compare; None: the best trial and the baseline (or the next best) of the newest study under `out`.
        data: As for `open_panel`, of the first checkpoint.
        out: As for `open_panel`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: There are no such models or data.
    """
    chosen = rivals(Path(out)) if checkpoints is None else named(checkpoints)
    if not chosen:
        chosen = [best_model(Path(out))]
    if len(chosen) < 2:  # a model alone is shown, too
        logger.warning("only %s has a checkpoint; name two checkpoints to compare", chosen[0].title)
    return _panel(chosen, data, Path(out), device)


def show_demo(out: Path | str = "optuna_results", people: int = 2) -> RedirectPanel | None:
    """Show the model that comes with the program: how it was trained, a strip of gazes, sliders.

    Args:
        out: Where the strip and sweeps are written.
        people: Rows of the strip.

    Returns:
        The sliders; None where this copy of the program has no such model, which is then said.
    """
    try:
        require_checkpoint(Path(DEMO))
    except CheckpointError as error:
        say(str(error))
        return None
    redirector = load_redirector(Path(DEMO))
    dataset = HeadDataset(unseen_people(Path(DEMO)), "test", redirector.image_size)
    rows = [dataset.batch([row]) for row in dataset.most_frontal()[:people]]
    path = Path(out) / SWEEP_FOLDER / "demo_strip.png"
    save_image(path, redirection_strip(redirector, rows, COMMANDS).numpy())
    display(Image(filename=str(path), width=STRIP_WIDTH))
    panel = open_panel(DEMO, out=out)
    panel.show()
    return panel


def _panel(models: Sequence[TrainedModel], data: Path | str | None, out: Path, device: str) -> RedirectPanel:
    content = load_checkpoint(models[0].checkpoint, "gazegaussian")
    if data is None and is_packed(content):
        people = People(unseen_people(models[0].checkpoint), unseen=True)
    else:
        people = People(resolve_data(parse_run(content["config"])) if data is None else Path(data))
    judge = load_judge(people.root)
    renderers = [Renderer(model.checkpoint, model.title, people, judge, device) for model in models]
    return RedirectPanel(renderers, people, out / SWEEP_FOLDER)

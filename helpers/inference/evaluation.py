"""Evaluation of a checkpoint, from files to files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from gazegaussian.data.splits import keys_of
from gazegaussian.errors import ConfigError
from gazegaussian.evaluation.results import DEFAULT_PAIRS, Evaluation
from gazegaussian.evaluation.table import GIVES_WAY, all_notes, as_csv, as_markdown, as_values, heading, table_rows
from gazegaussian.training.checkpoint_files import require_checkpoint
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.own_output import require_own_output
from helpers.inference.redirect import folder_of_subjects

__all__ = ["GIVES_WAY", "all_notes", "as_values", "evaluate", "heading", "table_rows"]

logger = logging.getLogger(__name__)

_NAMES = ("evaluation.md", "evaluation.json", "evaluation.csv", "pairs.csv")


def evaluate(
    checkpoint: Path,
    data: Path | None = None,
    pairs: int = DEFAULT_PAIRS,
    gaze_network: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    split: str = "test",
) -> Evaluation:
    """Measure a GazeGaussian on held-out people by the paper's protocol, and write the table and a picture.

    Args:
        checkpoint: GazeGaussian checkpoint, ours or imported.
        data: Folder of HDF5 subjects, of any of the published layouts; None: for a packed model, as `demo` is one, synthetic
            people whom it never saw.
        pairs: Redirections (source and target image of one person), spread evenly over the subjects.
        gaze_network: Checkpoint of a gaze network of the published layouts (ResNet-50 or VGG-16) that reads gaze and head
            pose instead of our judge.
        out: Folder for `evaluation.md`, `.json`, `.csv`, `.png` and `pairs.csv`; None writes nothing.
        device: `auto`, `cpu` or `cuda`.
        split: Of the data set.

    Returns:
        What was measured, with what, and what could not be measured and why.

    Raises:
        UserError: Checkpoint, data, gaze network or device cannot be used.
    """
    require_checkpoint(Path(checkpoint))
    if gaze_network is not None:
        require_checkpoint(Path(gaze_network), "gaze network", "Give --gaze-network an existing checkpoint.")
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"--out must name a folder; {out} is a file.")
    if out is not None and any((Path(out) / name).exists() for name in _NAMES):  # its picture marks an earlier one
        require_own_output(Path(out) / "evaluation.png")
        if not (Path(out) / "evaluation.png").exists():
            raise ConfigError(f"--out {out} holds files of these names that are no evaluation; name another folder.")
    folder = folder_of_subjects(Path(checkpoint), data)
    keys_of(folder, split)
    logger.info("evaluation of %s: loading torch and the renderers", checkpoint)
    from gazegaussian.evaluation.protocol import evaluate_checkpoint  # torch

    evaluation = evaluate_checkpoint(Path(checkpoint), folder, pairs, gaze_network, device, split)
    if out is not None:
        _write(evaluation, Path(out))
    return evaluation


def _write(evaluation: Evaluation, out: Path) -> None:
    from gazegaussian.evaluation.pictures import picture
    from gazegaussian.utils.image_grid import save_image

    texts = {
        "evaluation.md": as_markdown(evaluation),
        "evaluation.json": json.dumps(as_values(evaluation), indent=2),
        "evaluation.csv": as_csv(table_rows(evaluation)),
        "pairs.csv": as_csv(evaluation.rows),
    }
    for name, text in texts.items():
        with atomic_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    save_image(out / "evaluation.png", picture(evaluation).numpy())
    logger.info("wrote %s (.json, .csv, .png) and pairs.csv", out / "evaluation.md")

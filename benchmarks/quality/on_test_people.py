"""Trains the quick GazeGaussian, changed or not, and measures its best epoch on the test people, whom nothing was chosen by."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from gazegaussian.build import train_run
from gazegaussian.config import GazeGaussianRun, load_run
from gazegaussian.measurement import find_test_people, measure_checkpoint
from gazegaussian.training.run_folder import find_run
from gazegaussian.utils.atomic_files import atomic_file
from helpers.analysis.paired_gain import Sample
from helpers.utils.paths import run_file

METRIC = "val_loss"
FIRST_SEED = 1000  # none that a study or a default trains with
People = dict[str, dict[str, float]]  # metrics by test person


def quick_gaze_gaussian(mesh_head: Path) -> GazeGaussianRun:
    """Return the quick run configuration, started from a MeshHead checkpoint."""
    config = load_run(run_file("gazegaussian"), "gazegaussian")
    assert isinstance(config, GazeGaussianRun)
    return config.model_copy(update={"meshhead_checkpoint": mesh_head.resolve()})


def train_and_measure(config: GazeGaussianRun, folder: Path) -> People:
    """Train once and measure by person, or read what was measured before.

    Args:
        config: Of the training.
        folder: Of it; a training that was stopped there continues.

    Returns:
        What validation measures, for every test person.

    Raises:
        ConfigError: The folder holds a training of another configuration, as from another MeshHead.
    """
    stored = folder / "test_people.json"
    earlier = find_run(config, folder)
    if stored.is_file() and (earlier is None or earlier.finished):  # None: its checkpoints were freed
        return json.loads(stored.read_text())
    result = train_run(config, folder, resume=True)
    people, missing = find_test_people(config)
    if missing:
        raise SystemExit(f"nobody to measure: {missing}")
    measured = measure_checkpoint(config, result.best_checkpoint, people)
    with atomic_file(stored) as part:
        part.write_text(json.dumps(measured))
    return measured


def sample(rows: Sequence[People]) -> Sample:
    """Bring what was measured with each seed into the form of a comparison."""
    people = tuple(tuple(person[METRIC] for person in row.values()) for row in rows)
    return Sample(tuple(map(statistics.fmean, people)), people)

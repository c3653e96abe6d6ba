"""The model that comes with the program: what it is, and people whom it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazegaussian.data.synthetic.dataset import ensure_test_people, synthesize
from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.data.synthetic.generator import GENERATOR_VERSION, SyntheticSettings
from gazegaussian.errors import ConfigError
from gazegaussian.training.checkpoint_files import DEMO
from gazegaussian.training.checkpoints import contents_of, load_checkpoint

STAGE = "gazegaussian"
SHOWN = 6  # people: some seconds of one core, once


def is_packed(content: Mapping[str, Any]) -> bool:
    """Tell a packed model, which says where it comes from, from the checkpoint of a training."""
    return "origin" in content


def unseen_people(checkpoint: Path, count: int | None = None, cache: Path | None = None) -> Path:
    """Return a folder with test people for a packed model that was trained on synthetic heads, made where it is missing.

    Args:
        checkpoint: `demo`, or another packed model.
        count: How many people [`SHOWN`].
        cache: Folder above it; default that of the model's configuration.

    Raises:
        ConfigError: Only the folder of its own data can show this model.
    """
    content = load_checkpoint(checkpoint, STAGE)
    with contents_of(checkpoint):
        data = content["config"]["data"]
        if not is_packed(content) or data["root"] is not None:
            raise ConfigError(
                f"Expected --data with a folder of HDF5 subjects to show {checkpoint} with, got none; data synth DIR makes one."
            )
        size = int(data["image_size"])
        seed = int(data["synthetic_seed"])
        count = SHOWN if count is None else count
        name = f"unseen_v{GENERATOR_VERSION}_p{count}_s{size}_seed{seed}"
        above = Path(data["cache"]) if cache is None else cache
    folder = above / name
    if not (folder / SETTINGS_FILE).is_file():
        # A data set needs subjects to train and to validate with; all people of a seed are tested with the same others.
        settings = SyntheticSettings(people=2, size=size, seed=seed, frames=1, cameras=1, test_people=count)
        synthesize(folder, settings, progress=False, workers=0)
    ensure_test_people(folder)
    return folder


def describe(checkpoint: Path) -> str:
    """Say in a sentence what a packed model is and how it was trained."""
    content = load_checkpoint(checkpoint, STAGE)
    with contents_of(checkpoint):
        origin = content["origin"]
        size = content["architecture"]["image_size"]
        data = origin["data"]
        comes = " that comes with this program" if str(checkpoint) == DEMO else ""
        people = f"{data['people']} synthetic people" if "people" in data else f"the data set {data['folder']}"
        return (
            f"{checkpoint}: a GazeGaussian of {size} px{comes}, trained {origin['hours']:g} hours on {people} "
            f"(seed {origin['seed']}, commit {origin['commit']}): {origin['command']}"
        )

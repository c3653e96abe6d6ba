"""Varies the seed of stage one in a confirmation of stage two: its MeshHead is trained again with every seed."""

from __future__ import annotations

import logging
from pathlib import Path

from gazegaussian.config import GazeGaussianRun, RunConfig, parse_run, with_parameters
from gazegaussian.errors import ConfigError
from helpers.analysis.retrain import Source, computed_as, rerun

logger = logging.getLogger(__name__)


def stage_one(config: RunConfig) -> RunConfig:
    """Read how the MeshHead that a study of stage two starts from was trained.

    Returns:
        The MeshHead's own run configuration, on the data and the device of the study.

    Raises:
        ConfigError: The study starts from no MeshHead, or from one that does not say how it was trained.
    """
    from gazegaussian.training.checkpoints import load_checkpoint  # torch comes with it

    if not isinstance(config, GazeGaussianRun) or config.meshhead_checkpoint is None:
        raise ConfigError("Only a study of stage two that starts from a MeshHead can vary the MeshHead's seed.")
    origin = f"MeshHead checkpoint {config.meshhead_checkpoint}"
    content = load_checkpoint(config.meshhead_checkpoint, "meshhead")
    if not content["config"]:
        raise ConfigError(f"{origin} does not say how it was trained, so it cannot be trained again with other seeds.")
    first = parse_run(content["config"], "meshhead", origin)
    return computed_as(first.model_copy(update={"data": config.data}), config)


def mesh_head_of_seed(source: Source, first: RunConfig, seed: int, folder: Path) -> Path | None:
    """Train the MeshHead with a seed, or read it when that was done.

    Args:
        source: The study of stage two; its training function is used.
        first: As `stage_one` gives it.
        seed: Of the training.
        folder: Of the confirmation's trainings.

    Returns:
        Its best checkpoint; None when the training failed.
    """
    run_dir = folder / f"meshhead_seed{seed}"
    logger.info("confirm: MeshHead of stage one, seed %d", seed)
    run = rerun(source, with_parameters(first, {"seed": seed}), run_dir)
    return None if run.value is None else run_dir / "best.pt"

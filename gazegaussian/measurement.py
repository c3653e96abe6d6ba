"""Measures a trained checkpoint on test people, one by one, as validation measures an epoch on the validation people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from gazegaussian.build import build_stage, cpu_threads, resolve_data
from gazegaussian.config import DataConfig, RunConfig
from gazegaussian.data import HeadDataset, ensure_test_people, people_of
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.stage import HeadStage
from gazegaussian.training.step import autocast, repeatable, resolve_device, resolve_precision

IMAGES_PER_PERSON = 4  # at least, of a test person: they are measured once per training, not after every epoch


def find_test_people(config: RunConfig) -> tuple[list[str], str]:
    """Find the people that neither training nor validation looks at; those of the embedded heads are made when missing.

    Args:
        config: Of the run whose data it is.

    Returns:
        File names of the test people without prefix, and why there are none (empty where there are).
    """
    if not isinstance(config.data, DataConfig):
        return [], f"stage {config.stage} has no test people"
    root = resolve_data(config)
    ensure_test_people(root)
    groups = people_of(root)
    seen = {*groups.train, *groups.val}
    people = [person for person in groups.test if person not in seen]
    return people, "" if people else f"{root} has no people beside those that train and validate"


def measure_checkpoint(config: RunConfig, checkpoint: Path, people: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure a trained checkpoint on other people as validation measures an epoch.

    Args:
        config: Of its training.
        checkpoint: Mostly `best.pt` of that training.
        people: File names of the subjects.

    Returns:
        What the stage's validation gives, for every person alone.

    Raises:
        UserError: Data, checkpoint or device cannot be used.
    """
    data = config.data
    assert isinstance(data, DataConfig), f"stage {config.stage} has no test people"
    content = load_checkpoint(checkpoint, config.stage)
    images = data.max_val_images
    share = None if images is None else max(IMAGES_PER_PERSON, -(-images // len(people)))
    root = resolve_data(config)
    device = resolve_device(config.training.device)
    metrics = {}
    with cpu_threads(config.training.threads):
        stage = cast(HeadStage, build_stage(config))
        with contents_of(checkpoint):
            stage.module.load_state_dict(content["model"])
        stage.to(device)
        stage.module.eval()
        with (
            torch.no_grad(),
            repeatable(device),
            autocast(device, resolve_precision(config.training.precision, device)),
        ):
            for person in people:
                stage.hold_out(HeadDataset(root, [person], data.image_size), share)
                metrics[person] = stage.validate()
    return metrics

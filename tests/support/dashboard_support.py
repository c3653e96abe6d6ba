"""Shared by tests: dashboard."""

from __future__ import annotations

import numpy as np
from study_support import line_train

from gazegaussian.training.hooks import Hook
from gazegaussian.utils.image_grid import save_image

NONE = {"pruner": {"name": "none"}}


class Picture(Hook):
    """Saves an image per epoch, as a training does."""

    def on_epoch_end(self, trainer, epoch, metrics):
        save_image(trainer.run_dir / "images" / f"epoch_{epoch + 1:04d}.png", np.full((3, 40, 60), epoch / 8))


def pictured(config, run_dir, hooks, resume):
    return line_train(config, run_dir, [Picture(), *hooks], resume)

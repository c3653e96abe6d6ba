"""Shared by tests: running."""

from __future__ import annotations

from study_support import line_train

from gazegaussian.training.hooks import Hook


class At(Hook):
    """Does something once, after an epoch of the training (counted over all trials)."""

    def __init__(self, epoch, act):
        self.left = epoch
        self.act = act
        self.epochs = []

    def on_epoch_end(self, trainer, epoch, metrics):
        self.epochs.append(epoch)
        if self.left == 0:
            self.act()
        self.left -= 1


def acting(hook):
    """A training during which something happens; it comes before the study hears of the epoch."""

    def train(config, run_dir, hooks, resume):
        return line_train(config, run_dir, [hook, *hooks], resume)

    return train

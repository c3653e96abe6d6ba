"""Batches in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from gazegaussian.data.hdf5 import HeadDataset
from gazegaussian.data.samples import stack, to_batch
from gazegaussian.types import Batch


class EpochSampler(Sampler[int]):
    """A permutation per epoch, reproducible after a restart in the middle of training."""

    def __init__(self, count: int, shuffle: bool, seed: int, limit: int | None = None) -> None:
        self.count = count
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.limit = count if limit is None else min(limit, count)

    def __len__(self) -> int:
        return self.limit

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.limit))
        # Two numbers into one seed: epochs of one run and runs of neighbouring seeds must not share permutations.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return iter(torch.randperm(self.count, generator=generator)[: self.limit].tolist())


class HeadLoader(DataLoader):
    """A loader of `Batch`es; call `set_epoch` before each epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order."""
        assert isinstance(self.sampler, EpochSampler)
        self.sampler.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return (to_batch(columns) for columns in super().__iter__())


def make_loader(
    dataset: HeadDataset,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    workers: int = 0,
    pin: bool = False,
    max_images: int | None = None,
) -> HeadLoader:
    """Make a loader.

    Args:
        dataset: The data set.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        shuffle: Permute the images, anew each epoch.
        seed: Of the permutations.
        workers: Processes; 0 loads in this one.
        pin: Pin memory, so that batches are copied to CUDA beside the computation; False for a training on the CPU.
        max_images: Images per epoch, drawn anew each epoch when shuffled; default all.

    Returns:
        An iterable of `Batch`.
    """
    return HeadLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), shuffle, seed, max_images),
        num_workers=workers,
        collate_fn=stack,
        persistent_workers=workers > 0,
        pin_memory=pin,
        drop_last=False,
    )

"""How many images are rendered at a time: what the GPU's free memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from gazegaussian.errors import DeviceError, first_line

logger = logging.getLogger(__name__)

MOST = {"cpu": 4, "cuda": 16}
BYTES_PER_GAUSSIAN = 4096  # of an image that is rendered without gradients: 1.4 GB at 352 thousand
FREE_SHARE = 0.8  # of the free memory that a batch may be planned to take
Item = TypeVar("Item")
Result = TypeVar("Result")


def batch_that_fits(gaussians: int, device: torch.device) -> int:
    """Plan how many images are rendered at a time.

    Args:
        gaussians: Of one image.
        device: Where.

    Returns:
        4 on the CPU; on a GPU what its free memory holds, from 1 to 16.
    """
    most = MOST[device.type]
    if device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(most, int(FREE_SHARE * free / (BYTES_PER_GAUSSIAN * max(gaussians, 1)))))


def in_batches(
    items: Sequence[Item], size: int, work: Callable[[list[Item]], Result]
) -> Iterator[tuple[list[Item], Result]]:
    """Work on batches of items, of half the size whenever the GPU's memory is too small.

    Args:
        items: In order.
        size: Of the first batch.
        work: Called with a batch; changes nothing when it fails.

    Yields:
        Batches and what came of them.

    Raises:
        DeviceError: Not even one item fits.
    """
    first = 0
    while first < len(items):
        batch = list(items[first : first + size])
        try:
            result = work(batch)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise DeviceError(
                    f"Not even one image fits into the GPU's memory ({first_line(error)}). Use --device cpu or a larger GPU."
                ) from error
            size = max(1, size // 2)
            logger.info("out of memory: continuing with %d at a time", size)
        else:
            yield batch, result
            first += len(batch)
            continue
        torch.cuda.empty_cache()  # out here the error, and with it the frames that held tensors, is gone

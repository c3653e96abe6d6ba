"""Keeps two trainings out of one folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gazegaussian.errors import ConfigError
from helpers.storage.location import require_plain
from helpers.storage.locks import require_lock

logger = logging.getLogger(__name__)


@contextmanager
def sole_training(folder: Path) -> Iterator[None]:
    """Hold a training's folder while a `with` block lasts; the system lets it go when the process dies.

    Args:
        folder: Of the training; made when missing.

    Raises:
        ConfigError: Another process trains there now.
        StorageError: The folder holds links, or something else has the name of the lock.
    """
    require_plain(folder)
    require_lock(folder / ".lock")
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"Another training works in {folder} now. Wait for it, end it, or give another --out."
        ) from None
    except (OSError, NotImplementedError) as error:  # a folder without locks, or one that the training will complain of
        logger.debug("%s cannot be locked: %s", folder, error)
    try:
        yield
    finally:
        lock.release()

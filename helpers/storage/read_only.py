"""Stores opened for reading only."""

from __future__ import annotations

from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.location import has_store

FAULTS = (SQLAlchemyError, StorageInternalError)  # what an opened store raises when it cannot be read


def read_only_store(folder: Path) -> BaseStorage:
    """Open the SQLite file of a folder so that nothing is created, repaired or restored.

    Raises:
        StorageError: There is none yet, or it cannot be read.
    """
    if not has_store(folder):
        raise StorageError(f"There is no study in {folder} yet; run `study` first or name another folder.")
    return open_storage(None, folder, must_exist=True)

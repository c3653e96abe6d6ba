"""Files of trainings, as they are handled without torch: looked for before it is loaded."""

from __future__ import annotations

from pathlib import Path

from gazegaussian.errors import CheckpointError
from gazegaussian.utils.atomic_files import atomic_copy, atomic_path, commit_file, is_temporary

__all__ = ["atomic_copy", "atomic_path", "commit_file", "is_temporary", "require_checkpoint"]


def require_checkpoint(
    path: Path, what: str = "checkpoint", hint: str = "Train the stage first, or name an existing best.pt."
) -> None:
    """Refuse a path with no file, before anything is loaded that takes seconds.

    Args:
        path: Of a checkpoint.
        what: What it is called.
        hint: What to do where there is nothing.

    Raises:
        CheckpointError: There is no such file.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder, expected a checkpoint: name a best.pt, of a study that of one of its trials."
        )
    if not path.is_file():
        raise CheckpointError(f"No {what} at {path}. {hint}")

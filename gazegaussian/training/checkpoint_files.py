"""Files of trainings, as they are handled without torch: looked for before it is loaded."""

from __future__ import annotations

from pathlib import Path

from gazegaussian.errors import CheckpointError

DEMO = "demo"  # name of the model that comes with the program, wherever a checkpoint is asked for
DEMO_FILE = Path(__file__).resolve().parents[1] / "models" / "weights" / "demo.safetensors"


def checkpoint_file(path: Path) -> Path:
    """Turn the name `demo` into the file of the shipped model; any other path, or a file of that name, stays what it is."""
    return DEMO_FILE if str(path) == DEMO and not path.is_file() else path


def require_checkpoint(
    path: Path, what: str = "checkpoint", hint: str = "Train the stage first, or name an existing best.pt."
) -> None:
    """Reject a path with no file, before anything is loaded that takes seconds.

    Args:
        path: Of a checkpoint.
        what: What it is called.
        hint: What to do where there is nothing.

    Raises:
        CheckpointError: There is no such file.
    """
    if str(path) == DEMO and not checkpoint_file(path).is_file():
        raise CheckpointError(f"This copy of the program has no shipped model ({DEMO_FILE}). Restore it from git.")
    path = checkpoint_file(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder, expected a checkpoint: name a best.pt, of a study that of one of its trials."
        )
    if not path.is_file():
        raise CheckpointError(f"No {what} at {path}. {hint}")

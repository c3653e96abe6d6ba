"""The one way to make and read a checkpoint.

A checkpoint is a dict of tensors and plain values, loaded with `weights_only=True`. It carries its schema version, the
stage, the run configuration and the sizes that the configuration alone does not tell (`architecture`), so that stage two
rebuilds whatever stage one found.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from gazegaussian.errors import CheckpointError

SCHEMA_VERSION = 1
REQUIRED_KEYS = ("schema_version", "stage", "variant", "config", "architecture", "model")


def atomic_path(path: Path) -> Path:
    """Make a temporary file beside `path`, to be written and then handed to `commit_file`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    return Path(name)


def commit_file(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file to disk and give it its name: readers see the old or the new file, never half."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # temporary files are private, finished ones follow the user's umask
    os.replace(temporary, path)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: Where to; parent folders are made.
        content: At least `REQUIRED_KEYS` without the schema version, which is added here.
    """
    content = {"schema_version": SCHEMA_VERSION, **content}
    missing = [key for key in REQUIRED_KEYS if key not in content]
    assert not missing, f"checkpoint without {missing}"
    temporary = atomic_path(path)
    try:
        torch.save(content, temporary)
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, stage: str | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU and check that it is what is wanted.

    Args:
        path: A file written by `save_checkpoint`.
        stage: The stage it must belong to, or None for any.

    Raises:
        CheckpointError: Missing or damaged file, another schema version, another stage.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {path}. Train the stage first, or name an existing best.pt.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError) as error:
        reason = shorten((str(error) or type(error).__name__).splitlines()[0], 120, placeholder=" ...")
        if isinstance(error, pickle.UnpicklingError):  # torch's text is about its own options
            reason = "no file of torch.save, or one that holds more than weights and plain values"
        raise CheckpointError(
            f"{path} is no readable checkpoint ({reason}). Copy it again, or train the stage again."
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise CheckpointError(
            f"{path} is no checkpoint of this program: it has no schema_version. `import` takes in a published one."
        )
    if content["schema_version"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint schema version {content['schema_version']}, this program reads version "
            f"{SCHEMA_VERSION}. Train it again with this version."
        )
    missing = [key for key in REQUIRED_KEYS if key not in content]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it was not written by this program or is damaged.")
    if stage is not None and content["stage"] != stage:
        raise CheckpointError(f"{path} is a checkpoint of stage {content['stage']!r}; {stage!r} is needed here.")
    return content

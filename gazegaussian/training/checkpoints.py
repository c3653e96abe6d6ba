"""The one way to make and read a checkpoint.

A checkpoint is a dict of tensors and plain values, loaded with `weights_only=True`. It carries its schema version, the
stage, the run configuration and the sizes that the configuration alone does not tell (`architecture`), so that stage two
rebuilds whatever stage one found.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gazegaussian.config import current_variant
from gazegaussian.errors import CheckpointError, UserError
from gazegaussian.training.checkpoint_files import checkpoint_file, require_checkpoint
from gazegaussian.training.packed import SUFFIX, read_packed
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.yaml_files import shorten

SCHEMA_VERSION = 1
SAFE_TORCH = (2, 10)
REQUIRED_KEYS = ("schema_version", "stage", "variant", "config", "architecture", "model")
_TYPES = {"schema_version": int, "config": dict, "architecture": dict, "model": dict}  # the others: str
_MOST_VALUES = 1_000_000  # histories and names of weights are some thousands
_OF_ANY_SIZE = ("tets", "tet_verts")  # the grid that a published MeshHead brings along

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: Where to; parent folders are made.
        content: At least `REQUIRED_KEYS` without the schema version, which is added here.
    """
    content = {"schema_version": SCHEMA_VERSION, **content}
    missing = [key for key in REQUIRED_KEYS if key not in content]
    assert not missing, f"checkpoint without {missing}"
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, stage: str | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU and check that it is what is wanted.

    Args:
        path: A file written by `save_checkpoint`, a packed one (`.safetensors`), or `demo`, the shipped model.
        stage: The stage it must belong to, or None for any.

    Raises:
        CheckpointError: Missing or damaged file, another schema version, another stage.
    """
    require_checkpoint(path)
    path = checkpoint_file(path)
    content = read_packed(path) if path.suffix == SUFFIX else read_weights(path)
    if not isinstance(content, dict) or "schema_version" not in content:
        raise CheckpointError(
            f"{path} is no checkpoint of this program: it has no schema_version. `import` takes in a published one."
        )
    if content["schema_version"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint schema version {content['schema_version']}, this program reads version "
            f"{SCHEMA_VERSION}. Train it again with this version."
        )
    missing = [key for key in REQUIRED_KEYS if not isinstance(content.get(key), _TYPES.get(key, str))]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it was not written by this program or is damaged.")
    content["variant"] = current_variant(content["variant"])
    mesh_model = content["architecture"].get("mesh_model")
    if isinstance(mesh_model, dict) and "variant" in mesh_model:
        mesh_model["variant"] = current_variant(mesh_model["variant"])
    if stage is not None and content["stage"] != stage:
        raise CheckpointError(f"{path} is a checkpoint of stage {content['stage']!r}; {stage!r} is needed here.")
    return content


def read_weights(path: Path) -> Any:
    """Read what torch.save wrote, to the CPU: weights and plain values, never code, never more than the file's own size.

    Raises:
        CheckpointError: Damaged, or it holds something else; or this torch does not read safely.
    """
    require_safe_torch(path)
    try:
        _require_stored(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _require_plain(content)
    except Exception as error:  # whatever bytes that mean nothing raise
        named = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)  # those name a key
        reason = shorten(named, 120) or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's text is about its own options
            reason = "no file of torch.save, or one that holds more than weights and plain values"
        raise CheckpointError(
            f"{path} is no readable checkpoint ({reason}). Copy it again, or train the stage again."
        ) from error
    return content


def require_safe_torch(path: Path, version: str = torch.__version__) -> None:
    """Reject to read with a torch whose `weights_only` can be evaded (below 2.6) or corrupts memory (below 2.10).

    Args:
        path: That was to be read.
        version: Of torch.

    Raises:
        CheckpointError: It is too old.
    """
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < SAFE_TORCH:
        wanted = ".".join(map(str, SAFE_TORCH))
        raise CheckpointError(
            f"{path} is not read by torch {version}: a checkpoint could run code or corrupt memory there. Install torch "
            f"{wanted} or newer."
        )


def _require_stored(path: Path) -> None:
    """Reject compressed or overlapping entries, which torch.save never writes: a few bytes could become gigabytes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries are larger than the file")


def _require_plain(content: Any) -> None:
    """Reject tensors that are larger than what is stored of them, and plain values beyond number (one list in many)."""
    waiting = [content]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values")
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ValueError(f"a tensor of the kind {value.layout} on {value.device}")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of shape {tuple(value.shape)} with fewer values")
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value


@contextmanager
def contents_of(path: Path) -> Iterator[None]:
    """Say of what a checkpoint holds that it cannot be used, whatever building from it raises in a `with` block.

    Raises:
        CheckpointError: Names the file and what is wrong.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError) as error:
        what = shorten(f"{type(error).__name__}: {error}", 200)
        raise CheckpointError(
            f"{path} holds what no training of this program writes ({what}). Copy it again, or train the stage again."
        ) from error


def rebuild(make: Callable[[], ModuleT], state: Mapping[str, Tensor]) -> ModuleT:
    """Build a model and load its weights, once their shapes are known to agree.

    Args:
        make: Builds it. Called on the meta device first, where sizes cost no memory, so that a damaged configuration does
            not fill it.
        state: All its weights.

    Raises:
        ValueError: Weights are missing, too many or of another shape.
    """
    with torch.device("meta"):
        expected = {name: value.shape for name, value in make().state_dict().items()}
    for name in {**expected, **state}:
        given = state[name].shape if name in state else None
        if expected.get(name) != given and not (name in state and name.rpartition(".")[2] in _OF_ANY_SIZE):
            raise ValueError(f"{name}: expected shape {expected.get(name)}, found {given}")
    model = make()
    model.load_state_dict(state)
    return model.eval()

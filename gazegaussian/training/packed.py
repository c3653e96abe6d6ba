"""Trained models in one small file to hand on: half-precision and 8-bit weights and where they come from (`.safetensors`).

The header holds what a checkpoint holds beside its weights, without optimizer, history and offsets of single images, and
`origin`, which says how the model was trained. `load_checkpoint` reads such a file like any other checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gazegaussian.errors import CheckpointError
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.yaml_files import shorten

SUFFIX = ".safetensors"
LARGEST_HEADER = 1 << 20  # bytes; that of a model of this program has some 30 thousand
_LENGTH_BYTES = 8  # a file begins with the length of its header
_PLAIN = ("schema_version", "config", "architecture", "origin")  # written as JSON; the other entries are strings
# Where Gaussians are, how large and how opaque: a hundredth of the weights. With these in half precision, too, renders differ
# by 0.022/255 in the mean and 6.6/255 at most, without by 0.002 and 0.85.
_EXACT = ("means", "log_scales", "quats", "opacity_logits", "landmarks")
# One row or column per point, most of the weights: 8 bits each, with a scale of its own for every point (or value of a point).
_COARSE = ("response", "features")
_SCALE = ".scale"
_LEVELS = 127
_DTYPES = (torch.int8, torch.float16, torch.float32, torch.int64)


def write_packed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a packed checkpoint atomically.

    Args:
        path: Where to, a `.safetensors` file.
        content: What `load_checkpoint` gives, and `origin`.

    Raises:
        CheckpointError: A weight is too large for half precision.
    """
    state: dict[str, Tensor] = {}
    for name, value in content["model"].items():
        state |= _stored(name, value)
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise CheckpointError(f"{broken[0]} holds values that half precision cannot: this model cannot be packed.")
    names = ("schema_version", "stage", "variant", "config", "architecture", "origin")
    header = {name: json.dumps(content[name]) if name in _PLAIN else content[name] for name in names}
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata={**header, "sha256": _digest(state)})


def read_packed(path: Path) -> dict[str, Any]:
    """Read a packed checkpoint to the CPU: single-precision weights under `model`, the header's entries beside it.

    Raises:
        CheckpointError: Damaged, or something else.
    """
    try:
        _require_small_header(path)
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        content: dict[str, Any] = {name: json.loads(text) if name in _PLAIN else text for name, text in header.items()}
        _require_intact(state, header["sha256"])
        content["model"] = {name: _read(name, state) for name in state if not name.endswith(_SCALE)}
    except Exception as error:  # whatever bytes that mean nothing raise
        named = f"its header lacks {error}" if isinstance(error, KeyError) else str(error)
        reason = shorten(named, 120) or type(error).__name__
        raise CheckpointError(
            f"{path} is no readable packed model ({reason}). Copy it again, or restore it from git."
        ) from error
    return content


def _stored(name: str, value: Tensor) -> dict[str, Tensor]:
    """A weight as it is written, by name: half precision or 8 bits where that is enough."""
    kind = name.rpartition(".")[2]
    if kind in _COARSE and value.ndim == 2:
        short = 0 if value.shape[0] < value.shape[1] else 1
        scale = (value.abs().amax(short, keepdim=True) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        return {name: (value / scale).round().to(torch.int8).contiguous(), name + _SCALE: scale.contiguous()}
    exact = kind in _EXACT or not value.is_floating_point()
    return {name: (value if exact else value.half()).contiguous()}


def _read(name: str, state: Mapping[str, Tensor]) -> Tensor:
    """A weight in single precision; what is no weight as it is."""
    value = state[name]
    if value.dtype == torch.int8:
        return value.float() * state[name + _SCALE]
    return value.float() if value.is_floating_point() else value


def _require_small_header(path: Path) -> None:
    """Reject a header that would fill the memory."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")


def _require_intact(state: Mapping[str, Tensor], digest: str) -> None:
    """Reject weights of other kinds than are written, and those that changed since."""
    for name, value in state.items():
        if value.dtype not in _DTYPES:
            raise ValueError(f"{name} is of type {value.dtype}")
    if digest != _digest(state):
        raise ValueError("its weights are not those that were written")


def _digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()

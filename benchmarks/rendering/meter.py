"""Counts what calls of torch would ask of a device: how many, the bytes that they read and write, the bytes alive at a time."""

from __future__ import annotations

import re
import sys
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import gazegaussian

_PACKAGE = Path(gazegaussian.__file__).parent
_TRACED = re.compile(rf'File "{re.escape(str(_PACKAGE))}/([^"]+)", line (\d+)')
# of one launch of a kernel over a list of tensors (multi_tensor_apply)
FOREACH_TENSORS = 110
FOREACH_BLOCKS = 320
FOREACH_ELEMENTS = 65536  # of a block
# calls that start no kernel, and are no views
_NO_KERNEL = {
    "detach",
    "alias",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "_reshape_alias",
    "set_",
    "resize_",
}


class Meter(TorchDispatchMode):
    """Counts while it is entered. A kernel that torch does not see is added by `add`.

    Args:
        device: Type of the device whose memory counts.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.live = 0  # bytes
        self._device = device
        self._sizes: dict[int, int] = {}
        self.restart()

    def restart(self) -> None:
        """Count anew; what is alive stays so."""
        self.calls = 0
        self.bytes = 0
        self.peak = self.live
        self.by_call: Counter[str] = Counter()  # bytes
        self.by_line: Counter[str] = Counter()  # bytes
        self.calls_by_call: Counter[str] = Counter()
        self.calls_by_line: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        made = [value for value in tree_flatten(out)[0] if isinstance(value, Tensor)]
        for tensor in (*given, *made):
            self._hold(tensor)
        name = func.overloadpacket.__name__
        if func.namespace == "aten" and not func.is_view and name not in _NO_KERNEL:
            if name in ("zeros", "zeros_like", "ones_like", "full_like", "new_zeros", "zero_", "fill_"):
                given = []  # a tensor that lends its shape, or is overwritten, is not read
            many = name.startswith(("_foreach", "_fused"))
            self.add(name, sum(map(traffic, (*given, *made))), _launches(given) if many else 1)
        return out

    @property
    def calls_by_file(self) -> Counter[str]:
        """Calls by file, and those of its gradients."""
        by_file: Counter[str] = Counter()
        for line, calls in self.calls_by_line.items():
            by_file[line.partition(":")[0]] += calls
        return by_file

    def add(self, name: str, moved: int, calls: int = 1) -> None:
        """Count a call that moves so many bytes, or several."""
        line = _line()
        self.calls += calls
        self.bytes += moved
        self.by_call[name] += moved
        self.by_line[line] += moved
        self.calls_by_call[name] += calls
        self.calls_by_line[line] += calls

    def _hold(self, tensor: Tensor) -> None:
        """Count a storage until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if tensor.device.type != self._device or key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)


def traffic(tensor: Tensor) -> int:
    """Bytes that a kernel reads or writes of a tensor: what is repeated without copies is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _launches(tensors: Sequence[Tensor]) -> int:
    """Kernels that torch launches for a list of tensors on CUDA: of so many tensors, and so many blocks of elements, each."""
    blocks = sum(-(-tensor.numel() // FOREACH_ELEMENTS) for tensor in tensors)
    return max(-(-len(tensors) // FOREACH_TENSORS), -(-blocks // FOREACH_BLOCKS), 1)


def _line() -> str:
    """Innermost line of the package; of a gradient, where anomaly detection keeps it, the line whose gradient it is."""
    node: Any = torch._C._current_autograd_node()
    for entry in reversed((node.metadata.get("traceback_") or []) if node is not None else []):
        match = _TRACED.search(entry)
        if match is not None:
            return f"gradient of {match[1]}:{match[2]}"
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(f"{_PACKAGE}/"):
            return f"{Path(name).relative_to(_PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "gradients and optimizer"

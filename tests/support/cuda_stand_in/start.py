"""Install the stand-in when torch and Warp are imported: before torch its guard, after either its patches.

Imports neither: a process that does not need torch stays as fast as it is.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from cuda_stand_in.guard import guard_library

CAPABILITY = "STAND_IN_CUDA_CAPABILITY"
MEMORY = "STAND_IN_CUDA_MEMORY"
SITE = Path(__file__).with_name("site")


def stand_in_environment(capability: tuple[int, int] = (7, 5), memory: int = 16 << 30) -> dict[str, str]:
    """Return the environment of a process whose CUDA device is the stand-in.

    Args:
        capability: Compute capability that the device tells. 7.5 (T4) trains in fp16, 8.0 and above in bf16.
        memory: Bytes of the device; more raises `torch.OutOfMemoryError`.

    Raises:
        NoCompiler: The guard cannot be compiled here.
    """
    guard_library()
    path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))
    told = {CAPABILITY: ".".join(map(str, capability)), MEMORY: str(memory)}
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **told}


def _before_torch() -> None:
    """Load the guard where torch's libraries will find it; torch asks for its hooks while it is imported."""
    ctypes.CDLL(str(guard_library()), mode=ctypes.RTLD_GLOBAL).install_stand_in()


def _after_torch() -> None:
    from cuda_stand_in.torch_patches import install

    major, minor = os.environ.get(CAPABILITY, "7.5").split(".")
    install((int(major), int(minor)), int(os.environ.get(MEMORY, 16 << 30)))


def _after_warp() -> None:
    from cuda_stand_in.warp_patches import install

    install()


class _Loader(importlib.abc.Loader):
    """Another loader, with something to do before and after."""

    def __init__(self, inner: importlib.abc.Loader, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._inner = inner
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._before()
        self._inner.exec_module(module)
        self._after()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torch and Warp as the usual finder does, and wraps their loaders."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "torch": (_before_torch, _after_torch),
            "warp": (lambda: None, _after_warp),
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._wrapped:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, *self._wrapped[name])
        return spec


def install_on_import() -> None:
    """Watch the imports of this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

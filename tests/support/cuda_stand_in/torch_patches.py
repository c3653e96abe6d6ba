"""What of `torch.cuda` the program asks for, answered for the stand-in."""

from __future__ import annotations

from typing import Any

import torch
import torch.amp.autocast_mode
import torch.amp.grad_scaler
import torch.cuda.amp.common

from cuda_stand_in.record import RECORD
from cuda_stand_in.tensor import DEVICE, CudaTensor, OnDevice

NAME = "stand-in for a CUDA device"


class Stream:
    """The one stream."""

    cuda_stream = 0
    device = DEVICE

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def synchronize(self) -> None:
        """Nothing: all is computed already. As in torch, a wait that is asked for is not warned of."""


def _answers(capability: tuple[int, int]) -> dict[str, Any]:
    memory = RECORD.memory

    def sync_debug_mode(mode: int | str) -> None:
        RECORD.warn = mode in ("warn", 1)

    def reset_peak(device: object = None) -> None:
        memory.peak = memory.live

    def memory_fraction(fraction: float, device: object = None) -> None:
        memory.total = int(fraction * memory.total)

    return {
        "set_per_process_memory_fraction": memory_fraction,
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or capability >= (8, 0),
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: NAME,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=None: (memory.total - memory.live, memory.total),
        "reset_peak_memory_stats": reset_peak,
        "memory_allocated": lambda device=None: memory.live,
        "memory_reserved": lambda device=None: memory.live,
        "max_memory_allocated": lambda device=None: memory.peak,
        "max_memory_reserved": lambda device=None: memory.peak,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "get_rng_state_all": lambda: [torch.get_rng_state()],
        "set_rng_state_all": lambda states: None,
        "current_stream": lambda device=None: Stream(),
        "set_sync_debug_mode": sync_debug_mode,
    }


def _matmul_of_a_row(plain: Any) -> Any:
    """A row times a matrix: torch's own way looks into the storage, which a wrapped tensor does not have."""

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.mv(b.t(), a) if isinstance(a, CudaTensor) and a.dim() == 1 and b.dim() == 2 else plain(a, b)

    return matmul


def install(capability: tuple[int, int], memory: int) -> None:
    """Make this process believe in the device, for its whole life."""
    RECORD.memory.total = memory
    for name, answer in _answers(capability).items():
        setattr(torch.cuda, name, answer)
    for module in (torch.cuda.amp.common, torch.amp.autocast_mode, torch.amp.grad_scaler):
        if hasattr(module, "amp_definitely_not_available"):
            module.amp_definitely_not_available = lambda: False
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.Tensor.pin_memory = lambda self, *args: self.clone()  # type: ignore[assignment, method-assign]
    torch.Tensor.is_pinned = lambda self, *args: True  # type: ignore[assignment, method-assign]
    torch.Tensor.__matmul__ = _matmul_of_a_row(torch.Tensor.__matmul__)  # type: ignore[method-assign]
    OnDevice().__enter__()

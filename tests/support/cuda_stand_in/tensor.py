"""Tensors that say `cuda:0`, the rules that every call of theirs is held to, and the call itself on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from cuda_stand_in.record import RECORD, place

aten = torch.ops.aten
DEVICE = torch.device("cuda:0")

_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
}
# Calls whose result, or whose shape, the host needs.
_WAITING = {
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "histc",
}
# Elsewhere a CPU tensor without dimensions is a number; here it is a tensor on the wrong device.
_NO_NUMBERS = {
    "cat",
    "stack",
    "mm",
    "bmm",
    "addmm",
    "convolution",
    "index_add",
    "gather",
    "scatter",
    "embedding",
    "searchsorted",
    "grid_sampler_2d",
    "_foreach_mul_",
}
_NO_KERNEL = {
    "detach",
    "alias",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_local_scalar_dense",
    "_unsafe_view",
    "_reshape_alias",
    "set_",
    "resize_",
}


class CudaTensor(Tensor):
    """A tensor on the stand-in device; `data_on_cpu` holds its values."""

    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls, data: Tensor, requires_grad: bool = False) -> CudaTensor:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            data.size(),
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            layout=data.layout,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.data_on_cpu = data
        RECORD.memory.hold(data)
        return made

    def __repr__(self) -> str:
        return f"CudaTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})

    def tolist(self) -> Any:
        RECORD.wait("tolist")
        return self.data_on_cpu.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert cuda:0 device type tensor to numpy, at {place()}")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert cuda:0 device type tensor to numpy, at {place()}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.data_on_cpu.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> CudaTensor:
        return CudaTensor(self.data_on_cpu.clone(), self.requires_grad)


class OnDevice(TorchDispatchMode):
    """Sends calls that make tensors on `cuda` to the stand-in; CPU tensors are copied there as torch copies them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})

    def __enter__(self) -> OnDevice:
        # A tensor made of numbers for `cuda` is made on the CPU and copied, as in a build with CUDA.
        self._before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(self._before)
        super().__exit__(*error)


def call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check a call, count it and compute it.

    Raises:
        RuntimeError: Its tensors are on different devices.
    """
    tensors: list[Tensor] = []
    _collect(args, tensors)
    _collect(list(kwargs.values()), tensors)
    there = [value for value in tensors if isinstance(value, CudaTensor)]
    here = [value for value in tensors if not isinstance(value, CudaTensor)]
    target = kwargs.get("device")
    goes_there = target is not None and torch.device(target).type == "cuda"
    name = func.overloadpacket.__name__
    if name in ("pin_memory", "_pin_memory"):
        return args[0].clone()
    if name == "is_pinned":
        return True
    if not there and not goes_there:
        kwargs.pop("pin_memory", None)  # a build without CUDA has no such memory
        return func(*args, **kwargs)
    if there and here:
        _require_one_device(func, name, args, here)
    _count_copies(func, args, kwargs, there, here, goes_there)
    _count_call(func, name, args, kwargs)
    return _compute(func, name, args, kwargs, there, target is not None and not goes_there)


def _require_one_device(func: Any, name: str, args: Any, here: Sequence[Tensor]) -> None:
    """Refuse what a build with CUDA refuses of tensors on both devices."""
    if func is aten.copy_.default:
        return
    if func in _INDEXING:
        indices = [index for index in args[1] if index is not None]
        others = [t for t in here if t.dim() > 0 and not any(t is index for index in indices)]
        if others:
            raise RuntimeError(
                f"indices should be on the CPU or on the device of the indexed tensor: {func} at {place()}"
            )
        RECORD.wait("index from the CPU", sum(not isinstance(index, CudaTensor) for index in indices))
        return
    if name in _NO_NUMBERS or any(t.dim() > 0 for t in here):
        shapes = [tuple(t.shape) for t in here]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {func}, on the CPU {shapes}, at {place()}"
        )


def _count_copies(
    func: Any, args: Any, kwargs: dict[str, Any], there: Sequence[Tensor], here: Sequence[Tensor], goes_there: bool
) -> None:
    """Count copies between host and device: those that the host waits for, and the others."""
    if func is aten.copy_.default and there and here:
        up = isinstance(args[0], CudaTensor)
        free = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    elif func is aten._to_copy.default and goes_there and not there:
        up = True
        free = bool(kwargs.get("non_blocking", False))
    elif func is aten._to_copy.default and there and kwargs.get("device") is not None and not goes_there:
        up = False
        free = bool(kwargs.get("non_blocking", False))
    else:
        return
    if free:
        RECORD.copies["to the device" if up else "to the host"] += 1
    else:
        RECORD.wait("copy to the device" if up else "copy to the host")


def _count_call(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> None:
    if name in _WAITING:
        RECORD.wait(name)
    if func in _INDEXING and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        RECORD.wait("index by a mask")
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        RECORD.wait("repeat_interleave")
    if name not in _NO_KERNEL and not func.is_view:
        RECORD.calls += 1


def _compute(
    func: Callable[..., Any],
    name: str,
    args: Any,
    kwargs: dict[str, Any],
    there: Sequence[CudaTensor],
    comes_back: bool,
) -> Any:
    plain_args = _mapped(_values, args)
    plain_kwargs = {key: _mapped(_values, value) for key, value in kwargs.items()}
    if "device" in plain_kwargs:
        plain_kwargs["device"] = torch.device("cpu")
    plain_kwargs.pop("pin_memory", None)
    try:
        with _disable_current_modes():
            out = _softmax(func, plain_args) if "_softmax" in name else func(*plain_args, **plain_kwargs)
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise torch.OutOfMemoryError(f"CUDA out of memory. {error}") from error
        raise
    if func is aten.copy_.default and not isinstance(args[0], CudaTensor):
        return args[0]
    if comes_back:  # a copy, even where the call on the CPU gave what it got
        return _mapped(lambda t: t.clone() if any(t is c.data_on_cpu for c in there) else t, out)
    known = {id(t.data_on_cpu): t for t in there}
    for tensor in there:
        if tensor.shape != tensor.data_on_cpu.shape:
            raise NotImplementedError(f"{func} changed a shape in place")
    return _mapped(lambda t: known[id(t)] if id(t) in known else CudaTensor(t), out)


def _values(tensor: Tensor) -> Tensor:
    return tensor.data_on_cpu if isinstance(tensor, CudaTensor) else tensor


def _collect(value: Any, tensors: list[Tensor]) -> None:
    """Append the tensors of an operator's arguments: tensors, numbers, and lists of them. torch's trees cost ten times as much."""
    if isinstance(value, Tensor):
        tensors.append(value)
    elif isinstance(value, list | tuple):
        for one in value:
            _collect(one, tensors)


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to the tensors of an operator's arguments or results."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        mapped = [_mapped(function, one) for one in value]
        return mapped if isinstance(value, list) else tuple(mapped)
    return value


def _softmax(func: Any, args: Any) -> Any:
    """Softmax of half precision in single, which CUDA does in one kernel and the CPU refuses."""
    if func is aten._softmax.default and args[2]:
        return func(args[0].float(), args[1], False)
    if func is aten._softmax_backward_data.default and args[3] in (torch.half, torch.bfloat16):
        return func(*args[:3], torch.float32).to(args[3])
    return func(*args)

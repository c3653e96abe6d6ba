"""One optimisation step; a bad loss or gradient stops it before the weights are touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gazegaussian.errors import DeviceError, NonFiniteError

LossTerms = dict[str, Tensor]

LEAST_SCALE = 1.0  # of fp16's loss: below it not even unscaled gradients were finite, 17 steps in a row


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Raises:
        DeviceError: CUDA is asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda was asked for, but torch finds no CUDA device here. Use --device cpu or auto.")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Pick the autocast type: fp32 on the CPU, bf16 from compute capability 8.0, fp16 on older GPUs."""
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name != "auto":
        return named[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Autocast to `dtype`, or nothing for fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)  # type: ignore[return-value]


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Make equal trainings on the CPU give equal bits; on CUDA, where that would cost time, nothing changes.

    With several threads PyTorch adds the gradients of an indexed tensor in any order, unless it is told not to.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    guard: Any = torch.utils.deterministic  # fills new memory, which costs 3 to 6% of a step and is not needed here
    filled = guard.fill_uninitialized_memory
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    guard.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
        guard.fill_uninitialized_memory = filled


def optimisation_step(
    compute_losses: Callable[[], LossTerms],
    parameters: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    max_grad_norm: float,
) -> LossTerms:
    """Compute the losses, differentiate, clip and update.

    Args:
        compute_losses: Returns the weighted terms; their sum is minimised.
        parameters: Whatever the optimizer holds.
        optimizer: Updates the parameters.
        scaler: Gradient scaler, disabled except for fp16. An overflow that the scaler provoked itself (a finite loss,
            infinite scaled gradients) skips the update and lowers the scale, as fp16 training needs.
        max_grad_norm: Largest gradient norm, clipped after backward.

    Returns:
        The detached terms.

    Raises:
        NonFiniteError: NaN or infinite loss or gradient, or gradients that no scale of fp16 makes finite; the weights are
            as before the step.
    """
    optimizer.zero_grad(set_to_none=True)
    terms = compute_losses()
    total = torch.stack(list(terms.values())).sum()
    scaler.scale(total).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    # Loss and gradient in one question: on CUDA it is the one place of a step where the host must wait for an answer.
    if scaler.is_enabled():
        sound = torch.isfinite(total) & (scaler.scale(torch.ones_like(total)) >= LEAST_SCALE)
    else:
        sound = torch.isfinite(torch.stack([total.detach(), norm.to(total)])).all()
    if not sound:
        optimizer.zero_grad(set_to_none=True)
        raise NonFiniteError(_finding(terms, total, norm, scaler))
    scaler.step(optimizer)
    scaler.update()
    return {name: value.detach() for name, value in terms.items()}


def _finding(terms: LossTerms, total: Tensor, norm: Tensor, scaler: torch.amp.GradScaler) -> str:
    """Say what was not finite."""
    bad = [name for name, value in terms.items() if not torch.isfinite(value)]
    if bad or not torch.isfinite(total):
        return f"non-finite loss in {', '.join(bad) or 'the sum of the terms'}"
    if scaler.is_enabled():
        return (
            f"in fp16 no gradients were finite, down to a loss scale of {scaler.get_scale():g}. Use precision: fp32, or bf16 "
            "on a GPU of compute capability 8.0 or more"
        )
    return f"non-finite gradient (norm {norm.item()})"

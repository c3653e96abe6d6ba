"""Tells effects from chance: trainings that cannot be repeated, and parameters that act as another seed would."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from helpers.analysis.audit_probe import Step

REPEATS = 10  # steps of each of two values where equal steps differ
MOST_ELEMENTS = 1_000_000  # of a step that enter the test of repeated ones
RELATED = 0.6  # correlation from which two draws of the same size are taken to have a common origin
ERRORS = 4.0  # standard errors within which two spreads are the same


def repeated_effect(base: Sequence[Step], other: Sequence[Step], scale: Step) -> float:
    """Measure the effect of a value on steps that differ from chance alone.

    The differences of pairs of repeats share the effect and nothing else: products of two of them have its square as
    their mean. Whether that is more than chance is asked of all changes of sign of whole pairs, under which pairs
    without an effect stay what they are. One such test in 2^(`REPEATS` - 1) finds an effect where there is none.

    Args:
        base: Repeated steps of the run configuration.
        other: As many of the other value.
        scale: As in `audit_probe.difference`.

    Returns:
        The effect as a share of what another seed does; 0 where it cannot be told from chance.
    """
    names = sorted(base[0].updates.keys() & other[0].updates.keys())
    weights = {name: _mean_gradient([*base, *other], name) for name in names}
    mean = {name: torch.stack([step.updates[name] for step in base]).mean(0) for name in names}
    rows = [
        _flat({name: weights[name] * (b.updates[name] - a.updates[name]) for name in names})
        for a, b in zip(base, other, strict=True)
    ]
    products = torch.stack(rows) @ torch.stack(rows).T  # [R, R]
    products.fill_diagonal_(0)
    count = len(rows)
    signs = torch.tensor(list(itertools.product([1.0], *[[1.0, -1.0]] * (count - 1))), dtype=products.dtype)
    sums = ((signs @ products) * signs).sum(1)  # [2^(R-1)], the first without a change of sign
    usual = _flat({name: weights[name] * (scale.updates[name] - mean[name]) for name in names}).norm().item()
    if sums[0] <= 0 or sums[0] < sums.max() or usual == 0:
        return 0.0
    return math.sqrt(float(sums[0]) / (count * (count - 1))) / usual


def _mean_gradient(steps: Sequence[Step], name: str) -> Tensor:
    zero = torch.zeros_like(steps[0].updates[name])
    return torch.stack([step.gradients.get(name, zero).abs() for step in steps]).mean(0)


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    flat = torch.cat([value.flatten() for _, value in sorted(tensors.items())])
    return flat[:: max(1, flat.numel() // MOST_ELEMENTS)]


def is_another_draw(base: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors differ as two draws of the same random numbers do: unrelated, of the same spread.

    Args:
        base: By name.
        other: The same names and shapes.
    """
    first, second = [], []
    for name, value in base.items():
        a, b = value.double().flatten(), other[name].double().flatten()
        if torch.equal(a, b) or a.numel() < 2:
            continue
        spread_a, spread_b = a.std().item(), b.std().item()
        if not (spread_a > 0 and spread_b > 0 and math.isfinite(spread_a) and math.isfinite(spread_b)):
            return False
        if abs(math.log(spread_b / spread_a)) > max(0.1, ERRORS / math.sqrt(a.numel())):
            return False
        first.append((a - a.mean()) / spread_a)
        second.append((b - b.mean()) / spread_b)
    if not first:
        return False
    a, b = torch.cat(first), torch.cat(second)
    return abs(float((a @ b) / (a.norm() * b.norm()))) < RELATED


def rows_of(batch: Any) -> list[bytes]:
    """Digest every row of a batch: one image and all that belongs to it."""
    tensors = list(tensors_of(batch))
    count = max((len(value) for value in tensors if value.dim()), default=0)
    rows = [hashlib.sha256() for _ in range(count)]
    for value in tensors:
        if value.dim() and len(value) == count:
            for digest, row in zip(rows, value, strict=True):
                digest.update(row.detach().cpu().contiguous().double().numpy().tobytes())
    return [digest.digest() for digest in rows]


def tensors_of(content: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch, whatever holds them."""
    if isinstance(content, Tensor):
        yield content
    elif dataclasses.is_dataclass(content) and not isinstance(content, type):
        for field in dataclasses.fields(content):
            yield from tensors_of(getattr(content, field.name))
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from tensors_of(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from tensors_of(value)
    elif hasattr(content, "__dict__"):
        yield from tensors_of(vars(content))


def only_reordered(base: Sequence[Any], pool: set[bytes], other: Sequence[Any]) -> bool:
    """Tell whether batches of as many images differ from the run configuration's by which images come when.

    Args:
        base: Batches of the run configuration.
        pool: Digests of rows that the run configuration trains on in some epoch.
        other: As many batches of the other value.
    """
    if [len(rows_of(batch)) for batch in base] != [len(rows_of(batch)) for batch in other]:
        return False
    if any(row in pool for batch in other for row in rows_of(batch)):
        return True
    numbers = {
        f"{index}.{part}": (a, b)
        for index, (one, two) in enumerate(zip(base, other, strict=True))
        for part, (a, b) in enumerate(zip(tensors_of(one), tensors_of(two), strict=True))
        if a.is_floating_point() and a.shape == b.shape
    }
    if not numbers:
        return False
    return is_another_draw({k: a for k, (a, _) in numbers.items()}, {k: b for k, (_, b) in numbers.items()})

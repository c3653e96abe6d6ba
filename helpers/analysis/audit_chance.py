"""Tells effects from chance: trainings that cannot be repeated, and parameters that act as another seed would."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from helpers.analysis.audit_probe import Step

REPEATS = 32  # steps of each of two values where equal steps differ
MOST_ELEMENTS = 500_000  # of a step that are kept of each repeat
SIGNS = 4096  # changes of sign that are tried, no change among them
BY_CHANCE = 4  # of them that may give as much as no change does: one in a thousand
RELATED = 0.6  # correlation from which two draws of the same size are taken to have a common origin
FEW = 8  # elements, of which no spread can be told
ERRORS = 4.0  # standard errors within which two spreads are the same


def repeated_effect(base: Sequence[Step], other: Sequence[Step], scale: Step) -> float:
    """Measure the effect of a value on steps that differ from chance alone.

    The differences of pairs of repeats share the effect and nothing else: products of two of them have its square as
    their mean. Whether that is more than chance is asked of random changes of sign of whole pairs, under which pairs
    without an effect stay what they are. One such test in a thousand finds an effect where there is none.

    Args:
        base: Repeated steps of the run configuration, thinned.
        other: As many of the other value, thinned alike.
        scale: As in `audit_probe.difference`, thinned alike.

    Returns:
        The effect as a share of what another seed does; 0 where it cannot be told from chance.
    """
    names = sorted(base[0].updates.keys() & other[0].updates.keys())
    weights = {name: _mean_gradient([*base, *other], name) for name in names}
    mean = {name: torch.stack([step.updates[name] for step in base]).mean(0) for name in names}
    rows = torch.stack(
        [
            _flat({name: weights[name] * (b.updates[name] - a.updates[name]) for name in names})
            for a, b in zip(base, other, strict=True)
        ]
    )
    products = (rows @ rows.T).fill_diagonal_(0)  # [R, R]
    count = len(rows)
    signs = torch.randint(2, (SIGNS, count), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    signs[0] = 1
    sums = ((signs @ products) * signs).sum(1)  # [SIGNS]
    usual = _flat({name: weights[name] * (scale.updates[name] - mean[name]) for name in names}).norm().item()
    if sums[0] <= 0 or int((sums >= sums[0]).sum()) > BY_CHANCE or usual == 0:
        return 0.0
    return math.sqrt(float(sums[0]) / (count * (count - 1))) / usual


def _mean_gradient(steps: Sequence[Step], name: str) -> Tensor:
    zero = torch.zeros_like(steps[0].updates[name])
    return torch.stack([step.gradients.get(name, zero).abs() for step in steps]).mean(0)


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for _, value in sorted(tensors.items())])


def is_another_draw(base: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors differ as two draws of the same random numbers do: unrelated, of the same spread.

    Args:
        base: By name.
        other: The same names and shapes.
    """
    first = []
    second = []
    changed = [name for name, value in base.items() if value.numel() > 1 and not torch.equal(value, other[name])]
    for name in [name for name in changed if base[name].numel() >= FEW] or changed:
        a = base[name].double().flatten()
        b = other[name].double().flatten()
        spread_a = a.std().item()
        spread_b = b.std().item()
        if not (spread_a > 0 and spread_b > 0 and math.isfinite(spread_a) and math.isfinite(spread_b)):
            return False
        if abs(math.log(spread_b / spread_a)) > max(0.1, ERRORS / math.sqrt(a.numel())):
            return False
        first.append((a - a.mean()) / spread_a)
        second.append((b - b.mean()) / spread_b)
    if not first:
        return False
    a = torch.cat(first)
    b = torch.cat(second)
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

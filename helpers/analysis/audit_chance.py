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
DEALS_BY_CHANCE = 41  # of so many deals of epochs that may be as far apart as the actual one: one in a hundred
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


def only_reordered(base: Sequence[Sequence[bytes]], other: Sequence[Sequence[bytes]], one: Any, two: Any) -> bool:
    """Tell whether a value merely draws other images, or other variants of them, than the run configuration does.

    Args:
        base: Digests of the rows of some epochs of the run configuration.
        other: Of the same epochs of the value.
        one: A batch of the run configuration.
        two: The value's batch in its place, which differs.
    """
    if [len(epoch) for epoch in base] != [len(epoch) for epoch in other]:
        return False
    known = {row for epoch in base for row in epoch}
    new = [row not in known for row in rows_of(two)]
    if known.isdisjoint(row for epoch in other for row in epoch):
        repeated = len(known) < sum(map(len, base))  # images that come again and again are exchanged for others
        return not repeated and _other_images(one, two, new)
    return _as_often(base, other) and (not any(new) or _other_images(one, two, new))


def _as_often(base: Sequence[Sequence[bytes]], other: Sequence[Sequence[bytes]]) -> bool:
    """Tell whether rows come as often in the epochs of one value as in those of another, but for chance.

    Epochs are dealt anew to the two values again and again; where they only draw, no deal differs from the actual one.
    """
    epochs = [*base, *other]
    columns = {row: column for column, row in enumerate(dict.fromkeys(row for epoch in epochs for row in epoch))}
    counts = torch.zeros(len(epochs), len(columns), dtype=torch.double)
    for number, epoch in enumerate(epochs):
        for row in epoch:
            counts[number, columns[row]] += 1
    alike = (counts / counts.sum(0)) @ counts.T  # [E, E]
    deals = torch.rand(SIGNS, len(epochs), generator=torch.Generator().manual_seed(0)).argsort(1)
    deals[0] = torch.arange(len(epochs))
    signs = 1.0 - 2.0 * (deals >= len(base))
    apart = ((signs.double() @ alike) * signs).sum(1)  # [SIGNS]
    # The actual deal comes up again by chance, and so does its mirror image: twice in as many deals as there are.
    expected = 2 * SIGNS / math.comb(len(epochs), len(base))
    return float(apart[0]) < 1e-6 or int((apart >= apart[0] - 1e-6).sum()) > max(DEALS_BY_CHANCE, 1.25 * expected)


def _other_images(one: Any, two: Any, rows: Sequence[bool]) -> bool:
    """Tell whether some rows of two batches are unrelated."""
    numbers = {
        str(part): (a[torch.tensor(rows)], b[torch.tensor(rows)])
        for part, (a, b) in enumerate(zip(tensors_of(one), tensors_of(two), strict=True))
        if a.is_floating_point() and a.shape == b.shape and a.dim() and len(a) == len(rows)
    }
    if not numbers:
        return False
    return is_another_draw({k: a for k, (a, _) in numbers.items()}, {k: b for k, (_, b) in numbers.items()})

"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Name so many things, in the singular where it is one.

    >>> counted(1, "epoch"), counted(2, "epoch"), counted(0, "epoch")
    ('1 epoch', '2 epochs', '0 epochs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str, several: str | None = None) -> str:
    """Name so many things, in the singular where it is one.

    Args:
        number: Of them.
        noun: Of one.
        several: The noun's plural, where it is not made with an s.

    >>> counted(1, "epoch"), counted(2, "epoch"), counted(0, "person", "people")
    ('1 epoch', '2 epochs', '0 people')
    """
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"

"""Times for people."""

from __future__ import annotations


def time_left(seconds: float) -> str:
    """Write a forecast, which is not known to fractions of a second."""
    return duration(max(1, round(seconds)))


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

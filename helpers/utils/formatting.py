"""Names and values as people read them; a worker of a study imports this without plotly and scikit-learn."""

from __future__ import annotations

UNITS = {"_deg": "degrees", "_rad": "radians", "psnr": "dB", "_fps": "frames/s", "_gb": "GB", "seconds": "s"}


def with_unit(metric: str) -> str:
    """Name a metric with its unit, for axes and captions."""
    unit = next((unit for ending, unit in UNITS.items() if metric.endswith(ending)), None)
    return f"{metric} ({unit})" if unit else metric


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

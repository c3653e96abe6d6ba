"""Names and values as figures and tables show them; a worker of a study imports this without plotly and scikit-learn."""

from __future__ import annotations

from gazegaussian.utils.durations import duration, time_left

__all__ = ["UNITS", "duration", "signed_degrees", "time_left", "with_unit"]

UNITS = {"_deg": "degrees", "_rad": "radians", "psnr": "dB", "_fps": "frames/s", "_gb": "GB", "seconds": "s"}


def with_unit(metric: str) -> str:
    """Name a metric with its unit, for axes and captions."""
    unit = next((unit for ending, unit in UNITS.items() if metric.endswith(ending)), None)
    return f"{metric} ({unit})" if unit else metric


def signed_degrees(angle: float) -> str:
    """A whole number of degrees with its sign; a small negative angle is +0, not -0.

    >>> signed_degrees(-0.3), signed_degrees(-12.6)
    ('+0°', '-13°')
    """
    return f"{round(float(angle)):+d}°"

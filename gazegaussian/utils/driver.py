"""The NVIDIA driver."""

from __future__ import annotations

import re
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia/version")


def driver_version() -> str:
    """Version of the NVIDIA driver, `unknown` where the system does not tell."""
    try:
        match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _DRIVER.read_text(encoding="utf-8"))
    except OSError:
        match = None
    return match[1] if match else "unknown"

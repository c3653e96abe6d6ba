"""Whether two run configurations compute the same."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from gazegaussian.config import DataConfig, RunConfig, parse_run

# Fields that may change between two calls: they decide where and how fast, not what is computed.
RUNTIME_FIELDS = frozenset({"device", "workers", "threads", "gpu_memory_gb", "preview_images", "cache"})
PATHS = frozenset({"root", "meshhead_checkpoint", "init_from"})
_SYNTHETIC = "embedded synthetic heads"


def changed_fields(stored: Mapping[str, Any], config: RunConfig, free: Collection[str] = ()) -> list[str]:
    """Name the fields that decide the outcome and differ, as `field: stored -> here`.

    Args:
        stored: Content of an earlier run configuration; fields that it lacks have their defaults.
        config: The present one.
        free: Fields that may differ.
    """
    if stored.get("stage") != config.stage:
        return [f"stage: {stored.get('stage')} -> {config.stage}"]
    earlier = parse_run(stored, origin="the earlier run configuration")
    before, now = (_flat(run.model_dump(mode="json")) for run in (earlier, config))
    changed = [name for name in now if name not in free and before[name] != now[name]]
    heads = isinstance(config.data, DataConfig)
    return [
        f"root (--data): {before[name] or _SYNTHETIC} -> {now[name] or _SYNTHETIC}"
        if name == "root" and heads
        else f"{name}: {before[name]} -> {now[name]}"
        for name in changed
    ]


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Bare field names (they are unique) to values that can be compared."""
    sections = [value if isinstance(value, dict) else {name: value} for name, value in content.items()]
    values = {name: value for section in sections for name, value in section.items() if name not in RUNTIME_FIELDS}
    return {n: os.path.abspath(v) if n in PATHS and v is not None else v for n, v in values.items()}

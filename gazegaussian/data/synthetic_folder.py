"""What a folder of synthetic heads holds already: whose settings, and which people are missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from gazegaussian.errors import DataError

SETTINGS_FILE = "synthetic.json"
TAG = "synthetic"  # attribute of a subject file: the settings that it depends on


def missing_people(folder: Path, files: Sequence[str], settings: dict[str, Any], tag: str) -> list[int]:
    """Look for the people of a data set, so that only the missing ones are made.

    Args:
        folder: Of the data set.
        files: Names of its subject files.
        settings: Of the data set, as `synthetic.json` holds them.
        tag: What one subject file depends on, as its attribute holds it.

    Returns:
        Numbers of the files that are missing or damaged.

    Raises:
        DataError: The folder holds something else, which would be mixed with the new heads.
    """
    found = {path.name: _tag(path) for path in sorted(folder.glob("*.h5"))}
    strange = [name for name, stored in found.items() if stored == "" or (stored is None and name not in files)]
    if strange:
        raise DataError(
            f"{folder}: expected synthetic heads or nothing, found {len(strange)} other files ({strange[0]}); give another "
            "folder"
        )
    differences = _differences(folder, settings, {stored for stored in found.values() if stored})
    beyond = sorted(found.keys() - set(files))
    if not differences and beyond:
        differences = [f"people: more than {len(files)} -> {len(files)}"]
    if differences:
        raise DataError(
            f"{folder}: expected heads of these settings or nothing, found {len(found)} heads of others "
            f"({'; '.join(differences)}); give another folder, or delete this one"
        )
    return [number for number, name in enumerate(files) if found.get(name) != tag]


def _differences(folder: Path, settings: dict[str, Any], tags: set[str]) -> list[str]:
    """Name the settings that differ, as `setting: there -> here`; without subject files nothing does."""
    if not tags:
        return []
    stored = [json.loads(tag) for tag in sorted(tags)]
    with suppress(OSError, ValueError):  # written last: without it the data set was never finished
        stored.append(json.loads((folder / SETTINGS_FILE).read_text()))
    pairs = [
        (name, there[name], here)
        for name, here in settings.items()
        for there in stored
        if there.get(name, here) != here
    ]
    return [f"{name}: {there} -> {here}" for name, there, here in dict.fromkeys(pairs)]


def _tag(path: Path) -> str | None:
    """Settings of a subject file, empty for one that is no synthetic head, None for one that cannot be opened."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get(TAG, ""))
    except OSError:
        return None

"""Where the shipped configurations are: in the repository, or in the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
IN_REPOSITORY = (_PACKAGE.parent / "pyproject.toml").is_file()
CONFIGS = (_PACKAGE.parent if IN_REPOSITORY else _PACKAGE) / "configs"

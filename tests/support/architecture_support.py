"""Shared by tests: architecture."""

from __future__ import annotations

import ast

from repository import ROOT


def sources(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))

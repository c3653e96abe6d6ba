"""Shared fixtures. Everything runs on two CPU cores without a network."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parent.parent


LONGEST = ("test_notebooks.py", "test_cli.py")  # begun first: with a file per process they would run alone in the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)

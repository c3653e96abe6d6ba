"""Where the repository lies, for tests at any depth, and copies of it."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CACHES = shutil.ignore_patterns(
    ".git",
    ".venv*",
    ".*_cache",
    "__pycache__",
    "optuna_results",
    "scratch",
    "images",
    "tests",
    "benchmarks",
    ".hypothesis",
)


def left_out(folder, names):
    """What a copy for `copytree(ROOT, ...)` needs not: caches, results, and the data of the top folder (`gazegaussian/data` is code)."""
    return {*_CACHES(folder, names), *({"data"} if folder == str(ROOT) else ())}

"""Paths and addresses that several rooms name."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository, or of the installed packages
SCRIPT = ROOT / "train_gazegaussian_optuna.py"
CONFIGS = ROOT / "configs"
STUDIES = CONFIGS / "studies"
STORAGE_VARIABLE = "GAZEGAUSSIAN_STORAGE"
LOOPBACK = "127.0.0.1"


def run_file(stage: str, sizes: str = "quick") -> Path:
    """Shipped run configuration of a stage: `quick`, `demo` or `full` sizes."""
    return CONFIGS / "runs" / stage / f"{sizes}.yaml"


def study_file_of(stage: str, sizes: str = "quick") -> Path:
    """Shipped study file of a stage: `quick`, `demo` or `full` sizes."""
    return STUDIES / stage / f"{sizes}.yaml"

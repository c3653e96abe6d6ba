"""Paths and addresses that several rooms name."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository, or of the installed packages
SCRIPT = ROOT / "train_gazegaussian_optuna.py"
CONFIGS = ROOT / "configs"
STORAGE_VARIABLE = "GAZEGAUSSIAN_STORAGE"
LOOPBACK = "127.0.0.1"

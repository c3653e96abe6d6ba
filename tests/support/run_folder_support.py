"""Shared by tests: run folder."""

from __future__ import annotations

import pytest
from trainer_support import LineStage

from gazegaussian import build
from gazegaussian.config import MeshHeadRun, with_parameters


def config(**changes):
    return with_parameters(MeshHeadRun(), {"epochs": 3, "device": "cpu", "lr": 0.01, **changes})


@pytest.fixture(autouse=True)
def small_stage(monkeypatch):
    """Files and resuming do not depend on the model."""
    monkeypatch.setattr(build, "build_stage", lambda config: LineStage(config.training.seed))

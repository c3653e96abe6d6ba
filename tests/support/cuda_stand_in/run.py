"""Run Python on the stand-in: `python -m cuda_stand_in.run ARGUMENTS OF PYTHON`, with tests/support on PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from repository import ROOT

from cuda_stand_in.guard import NoCompiler
from cuda_stand_in.start import stand_in_environment


def run_on_stand_in(
    arguments: Sequence[str | Path], cwd: Path = ROOT, capability: tuple[int, int] = (7, 5), memory: int = 16 << 30
) -> subprocess.CompletedProcess[str]:
    """Run a Python process whose CUDA device is the stand-in; skip the test where the guard cannot be compiled.

    Args:
        arguments: Of Python.
        cwd: Where.
        capability: See `stand_in_environment`.
        memory: See `stand_in_environment`.
    """
    try:
        environment = stand_in_environment(capability, memory)
    except NoCompiler as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the stand-in: {error}")
        pytest.skip(str(error))
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    command = [sys.executable, *sys.argv[1:]]
    os.execve(sys.executable, command, stand_in_environment())

"""Shared by tests: isolation."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from study_support import spec


def isolated(tmp_path, train, **changes):
    return replace(spec(tmp_path, train, **changes), isolate=True)


def hangs(config, run_dir, hooks, resume):
    (run_dir.parent / "child").write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)

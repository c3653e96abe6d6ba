"""The script in a fork of this process: what it imports is there already, which takes a new process five seconds of CPU.

For commands that start no workers; how a process of its own starts is `test_start_up.py`'s part.
"""

from __future__ import annotations

import atexit
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

from repository import ROOT

SCRIPT = ROOT / "train_gazegaussian_optuna.py"


def run_forked(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the script and wait for it.

    Args:
        words: Behind the script's name.
        folder: Working directory.
    """
    import gazegaussian.build  # noqa: F401  once, for all forks

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become_the_script(words, folder, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess([str(SCRIPT), *words], os.waitstatus_to_exitcode(status), *texts)


def _become_the_script(words: list[str], folder: Path, out: int, err: int) -> NoReturn:
    """Leave the tests behind: their streams, loggers and duties at exit."""
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        for name in (None, *logging.root.manager.loggerDict):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET if name else logging.WARNING)
        warnings.simplefilter("ignore", DeprecationWarning)
        atexit._clear()
        os.chdir(folder)
        sys.argv = [str(SCRIPT), *words]
        runpy.run_path(str(SCRIPT), run_name="__main__")
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

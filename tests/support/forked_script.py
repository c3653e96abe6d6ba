"""The script in a fork of a process that has imported its packages, which takes a new process five seconds of CPU.

The fork is one of `multiprocessing`'s fork server, which has no threads: a fork of the tests' own process, where PyTorch, Warp
and Jupyter have started some, can crash.

For commands that start no workers; how a process of its own starts is `test_start_up.py`'s part.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

from repository import ROOT

SCRIPT = ROOT / "train_gazegaussian_optuna.py"

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["forked_script", "gazegaussian.build"])


def run_forked(args: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the script and wait for it.

    Args:
        args: Behind the script's name.
        folder: Working directory.
    """
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name) / "out", Path(name) / "err"]
        child = _server.Process(target=_become_the_script, args=(args, folder, streams, dict(os.environ)))
        child.start()
        child.join()
        assert child.exitcode is not None
        texts = [stream.read_text() if stream.exists() else "" for stream in streams]
        return subprocess.CompletedProcess([str(SCRIPT), *args], child.exitcode, *texts)


def _become_the_script(args: list[str], folder: Path, streams: list[Path], variables: dict[str, str]) -> NoReturn:
    """Be what a new process of this command would be: its streams, variables, folder and duties at exit."""
    code = 1
    try:
        for number, stream in enumerate(streams, 1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(variables)
        atexit._clear()
        os.chdir(folder)
        sys.argv = [str(SCRIPT), *args]
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

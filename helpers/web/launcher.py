"""optuna-dashboard over one study or many, on the loopback interface, shown where the caller is: cell, terminal or program."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import secrets
import socket
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.utils.interrupts import answered, interruptible
from gazegaussian.utils.signs_of_life import resting
from helpers.utils.paths import LOOPBACK
from helpers.utils.runtime import runtime_name
from helpers.web.merged_storage import no_study, stores_in

logger = logging.getLogger(__name__)

START_SECONDS = 120.0  # importing torch from a cold disk included
HEIGHT = 800  # pixels of the frame in a cell
_RUNNING: dict[tuple[Path, str | None, int], Dashboard] = {}


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard. It ends with `close`, or with the process (the notebook's kernel) that started it.

    Attributes:
        port: On 127.0.0.1.
    """

    port: int
    _process: SpawnProcess = field(repr=False, compare=False)
    _token: str = field(default="", repr=False, compare=False)

    @property
    def path(self) -> str:
        """Of the page, with the token that tells its owner from other users of the machine."""
        return f"/dashboard?token={self._token}" if self._token else "/dashboard"

    @property
    def url(self) -> str:
        """Its address on this machine; who has it reads the studies."""
        return f"http://{LOOPBACK}:{self.port}{self.path}"

    @property
    def ssh(self) -> str:
        """Command for another machine, after which the address works there too."""
        return f"ssh -N -L {self.port}:{LOOPBACK}:{self.port} {os.environ.get('USER', 'USER')}@{socket.gethostname()}"

    @property
    def alive(self) -> bool:
        """Tell whether it still answers."""
        return self._process.is_alive()

    def wait(self) -> bool:
        """Wait until Ctrl-C or SIGTERM, then end it; returns False when it has ended by itself."""
        try:
            with interruptible(), resting():
                self._process.join()
            return False
        except KeyboardInterrupt:
            answered()
            return True
        finally:
            self.close()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()

    def __str__(self) -> str:
        return (
            f"Dashboard: {self.url}\n"
            f"From another machine, run there: {self.ssh}\n"
            "It only reads, listens on this machine alone and ends with this process. The token in the address is a password."
        )

    def _ipython_display_(self) -> None:
        """Show it in the cell."""
        from IPython.display import HTML, IFrame, display

        here = runtime_name()
        if here == "Colab":
            try:  # it runs a script in the browser: whether the page comes is not known here, so the sentence follows always
                output = importlib.import_module("google.colab.output")
                output.serve_kernel_port_as_iframe(self.port, path=self.path, height=HEIGHT)
            except Exception as error:  # of other versions of Colab
                logger.warning("Colab shows no frame (%s)", error)
        elif here in ("Python", "Jupyter", "VS Code"):
            display(IFrame(self.url, width="100%", height=HEIGHT))
        display(HTML(self._other_ways(here)))

    def _other_ways(self, here: str) -> str:
        """How to see the page where the frame above stays empty, or where there is none."""
        elsewhere = (
            "the figures of this notebook need no port, and a copy of the study's folder opens on your own machine with "
            "<code>python train_gazegaussian_optuna.py dashboard FOLDER</code>"
        )
        if here == "Colab":
            window = f"google.colab.output.serve_kernel_port_as_window({self.port}, path='{self.path}')"
            return f"Dashboard. Where the frame above stays empty: <code>{window}</code> opens a tab; {elsewhere}."
        if here in ("Kaggle", "Colab from VS Code"):
            return f"Dashboard: it runs, but {here} shows no page of the runtime; {elsewhere}."
        link = f'<a href="{self.url}" target="_blank" rel="noopener">{self.url}</a>'
        return (
            f"Dashboard: {link} (the frame above, where the kernel runs on your machine). With the kernel on another machine, "
            f"run on yours first: <code>{self.ssh}</code>. JupyterLab can also open a <code>study.db</code> itself, with "
            "<code>pip install jupyterlab-optuna</code>."
        )


def dashboard(folder: Path | str = "optuna_results", port: int = 0, storage: str | None = None) -> Dashboard:
    """Start optuna-dashboard over a study, or over all studies of a folder; running studies are followed.

    It listens on 127.0.0.1 only, changes nothing, and shows what the trials left (validation images, learning curves).
    Called again for the same, it gives the one that runs.

    Args:
        folder: A study's, or one with studies in it.
        port: 0 takes any free one.
        storage: Optuna storage URL, when the studies are not in their folders' own stores.

    Returns:
        The dashboard; the last line of a cell shows it there.

    Raises:
        UserError: There is no study, the storage cannot be opened, or the port is taken.

    >>> board = helpers.dashboard("optuna_results")
    >>> board.url.startswith("http://127.0.0.1:")
    True
    >>> board.close()
    """
    key = (Path(folder).resolve(), storage, port)
    running = _RUNNING.get(key)
    if running is not None and running.alive:
        return running
    if not 0 <= port < 2**16:
        raise ConfigError(f"A port is a number from 1 to 65535, or 0 for any free one, not {port}.")
    if storage is None and not stores_in(key[0]):
        raise no_study(folder)
    logger.info("dashboard of %s: starting", folder)
    from helpers.web.server import serve  # optuna-dashboard, plotly

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    # A daemon: Python ends it at its own end, and it looks itself whether its parent was killed.
    token = secrets.token_urlsafe(32)
    process = context.Process(target=serve, args=(there, *key, token), name="dashboard", daemon=True)
    process.start()
    there.close()
    try:
        answer = here.recv() if here.poll(START_SECONDS) else ConfigError(f"No answer within {START_SECONDS:g} s.")
    except EOFError:
        answer = RuntimeError(f"the dashboard's process ended with exit code {process.exitcode}")
    except BaseException:  # Ctrl-C
        process.kill()
        raise
    finally:
        here.close()
    if isinstance(answer, Exception):
        process.kill()
        process.join()
        raise answer
    _RUNNING[key] = Dashboard(answer, process, token)
    return _RUNNING[key]

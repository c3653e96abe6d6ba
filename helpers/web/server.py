"""The process behind `helpers.dashboard`: optuna-dashboard over all studies of a folder, on the loopback interface, only reading.

optuna-dashboard asks for no password, so this server listens on 127.0.0.1 alone and passes on requests that read and
that bring its token (`helpers.web.guard`); a study that runs is read in transactions of milliseconds and never locked,
written or copied.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import WSGIApplication

import optuna_dashboard
from bottle import HTTPResponse

from gazegaussian.errors import ConfigError, UserError
from gazegaussian.utils.plain_files import open_plain
from helpers.results.artifacts import ARTIFACTS
from helpers.results.attributes import CONFIG, FINGERPRINT, INHERITED, INIT_FROM, MESHHEAD_SHA256, OWNER
from helpers.storage.backends import open_url
from helpers.utils.paths import LOOPBACK
from helpers.utils.processes import die_with_parent
from helpers.web.guard import guarded
from helpers.web.merged_storage import JoinedStorage, no_study, stores_in
from helpers.web.page_filter import fitted_to_reading

logger = logging.getLogger(__name__)

# User attributes that say nothing to a reader; older studies have the best epoch, counted from 0, which the curve names.
BOOKKEEPING = (OWNER, INHERITED, FINGERPRINT, CONFIG, MESHHEAD_SHA256, INIT_FROM, "best_epoch", "last_checkpoint")


class JoinedArtifacts:
    """Artifacts of all studies of a folder, only read.

    Args:
        folder: A study's, or one with studies in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact; its identity is unique over all studies.

        Raises:
            HTTPResponse: Not found.
        """
        for store in (self._folder / ARTIFACTS, *self._folder.glob(f"*/{ARTIFACTS}")):
            if store.is_symlink() or (store.parent.is_symlink() and store.parent != self._folder):
                continue
            try:
                return open_plain(store / Path(artifact_id).name, follow=False)
            except (OSError, ValueError):
                continue
        raise HTTPResponse("Not Found", 404)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Reject."""
        raise HTTPResponse("Forbidden", 403)

    def remove(self, artifact_id: str) -> None:
        """Reject."""
        raise HTTPResponse("Forbidden", 403)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def make_app(folder: Path, storage: str | None = None, token: str | None = None) -> WSGIApplication:
    """Put optuna-dashboard and the guard together.

    Args:
        folder: A study's, or one with studies in it.
        storage: URL of the studies, when they are not in their folders' own stores.
        token: That requests must bring; None asks for none.

    Raises:
        UserError: There is no study, or the storage cannot be opened.
    """
    if storage is None:
        joined = JoinedStorage(lambda: stores_in(folder), BOOKKEEPING)
    else:
        opened = open_url(storage, must_exist=True)
        joined = JoinedStorage(lambda: {"storage": lambda: opened}, BOOKKEEPING)
    if not joined.get_all_studies():
        raise no_study(folder if storage is None else "the storage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts of the dashboard
        board = optuna_dashboard.wsgi(joined, JoinedArtifacts(folder))
    return guarded(fitted_to_reading(board, joined), token)


def serve(pipe: Connection, folder: Path, storage: str | None, port: int, token: str | None) -> None:
    """Answer requests until the process that started this one ends; runs in a process of its own.

    Args:
        pipe: Gets the port that is listened on, or the error.
        folder: A study's, or one with studies in it.
        storage: URL; it comes through a pipe and stands in no command line.
        port: 0 takes any free one.
        token: That requests must bring; it comes through the pipe, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes: the parent decides
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        app = make_app(folder, storage, token)
        server = bind(app, port)
    except UserError as error:
        pipe.send(error)
        return
    pipe.send(server.server_port)
    server.serve_forever()


def bind(app: WSGIApplication, port: int, make: Callable[..., WSGIServer] = make_server) -> WSGIServer:
    """Listen on the loopback interface.

    Raises:
        ConfigError: The port is taken or not allowed.
    """
    try:
        return make(LOOPBACK, port, app, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"Port {port} cannot be used ({why}): give another --port, or 0 for any free one.") from error

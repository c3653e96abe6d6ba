"""A real PostgreSQL server in a temporary folder, on 127.0.0.1 alone: for the tests and for `benchmarks.study.scale`."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path


def programs() -> Path | None:
    """Debian's newest server, or that of the search path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return installed[-1].parent if installed else Path(on_path).parent if on_path else None


def _required() -> Path:
    folder = programs()
    if folder is None:
        raise RuntimeError("PostgreSQL's server is not installed: apt-get install postgresql")
    return folder


class Server:
    """A server in a temporary folder; PostgreSQL rejects to run as root, so it runs as `postgres` then."""

    def __init__(self) -> None:
        # Not among pytest's folders, which belong to root alone.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._bin = _required()
        self._user = "postgres" if os.geteuid() == 0 else None
        with closing(socket.socket()) as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        if self._user:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._call("initdb", "-D", str(self.folder / "data"), "-U", "me", "--auth=trust", "--no-sync")
        with (self.folder / "data" / "postgresql.conf").open("a") as stream:
            stream.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n"
            )
            stream.write("max_connections = 150\nshared_buffers = 32MB\n")
        self.start()

    def new_database(self, name: str) -> str:
        """Make a database; returns its URL."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "me", name)
        return f"postgresql+psycopg://me@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Begin, or go on after `stop`."""
        self._control("start", "-l", str(self.folder / "log.txt"))

    def stop(self) -> None:
        """Cut all connections and end, as a restart of the service does."""
        self._control("stop", "-m", "fast")

    def _control(self, *args: str) -> None:
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", *args)

    def _call(self, program: str, *args: str) -> None:
        command = [str(self._bin / program), *args]
        # Into a file: the server inherits it, and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as told:
            done = subprocess.run(command, user=self._user, cwd="/", stdout=told, stderr=told, check=False)
            told.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {told.read()}")

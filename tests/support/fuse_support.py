"""A real FUSE mount that can die, as Google Drive's does in Colab: bindfs shows a folder at another place."""

import shutil
import subprocess
import time
from pathlib import Path

SECONDS = 10.0


class Mount:
    """A folder behind a process of its own.

    Args:
        where: Gets the folders `behind` and `drive`; the second shows the first.
    """

    def __init__(self, where: Path) -> None:
        self.behind = where / "behind"
        self.folder = where / "drive"
        self.behind.mkdir()
        self.folder.mkdir()
        self._process: subprocess.Popen | None = None

    def mount(self) -> bool:
        """Mount, again after a death; tells whether that works on this machine."""
        self.unmount()
        self._process = subprocess.Popen(["bindfs", "-f", self.behind, self.folder], stderr=subprocess.DEVNULL)
        end = time.monotonic() + SECONDS
        while not self.folder.is_mount():
            if self._process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def die(self) -> None:
        """Kill its process: what lies in the folder answers ENOTCONN from now on."""
        self._process.kill()
        self._process.wait()

    def unmount(self) -> None:
        if self._process is None:
            return
        self.die()
        subprocess.run([shutil.which("fusermount") or "fusermount3", "-u", "-z", self.folder], check=False)


def why_not() -> str | None:
    """Say why no FUSE mount can be made here; None where it can."""
    if shutil.which("bindfs") is None:
        return "needs bindfs (apt install bindfs)"
    return None if Path("/dev/fuse").exists() else "needs /dev/fuse"

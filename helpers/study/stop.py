"""Asks a running study to stop: from another thread, process or notebook cell, or by a signal.

The request is a file in the study's folder, which every process that works on the study there sees after its epoch.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain
from helpers.results.stop_reason import STOPPED

STOP_FILE = "stop"
LONGEST_REASON = 1000  # bytes


def stop(folder: Path, reason: str = STOPPED) -> None:
    """Ask the study of a folder to stop after the running epoch; running trials are queued again.

    The same call that ran the study resumes it. Asked for while nothing runs, it has no effect: the next start
    forgets it.

    Args:
        folder: Of the study.
        reason: What the study says why it ended.

    Raises:
        ConfigError: There is no such folder, or it cannot be written.
    """
    try:
        # Where there is one, a request was made already; a file of that name in another folder is not ours to write.
        with suppress(FileExistsError), (Path(folder) / STOP_FILE).open("x", encoding="utf-8") as stream:
            stream.write(reason)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"No study at {folder} that could be stopped; name the folder of a study.") from None
    except OSError as error:
        raise ConfigError(f"The study at {folder} cannot be asked to stop: {error.strerror}.") from error


def stop_asked(folder: Path) -> str | None:
    """Say why the study of a folder was asked to stop since it was started; None when it was not."""
    try:
        with open_plain(folder / STOP_FILE, follow=False) as stream:
            return stream.read(LONGEST_REASON).decode("utf-8", "replace") or STOPPED
    except (
        OSError
    ):  # mostly: there is none. Else such as an old handle of a network folder: look again after the next epoch
        return None


def forget_stop(folder: Path) -> None:
    """Begin a run: what stopped the one before does not count any more."""
    with suppress(OSError):  # a folder that is not there, or that cannot be written, is named elsewhere
        (folder / STOP_FILE).unlink(missing_ok=True)

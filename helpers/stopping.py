"""Asks a running study to stop, from another thread, process or notebook cell.

The request is a file in the study's folder, which every process that works on the study there sees after its epoch.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gazegaussian.errors import ConfigError

STOP_FILE = "stop"
STOPPED = "stopped on request"


def stop(folder: Path) -> None:
    """Ask the study of a folder to stop after the running epoch; the trial at work is queued again.

    The same call that ran the study goes on with it later. Asked for while nothing runs, it has no effect: the next start
    forgets it.

    Args:
        folder: Of the study.

    Raises:
        ConfigError: There is no such folder, or it cannot be written.
    """
    try:
        (Path(folder) / STOP_FILE).touch()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"No study at {folder} that could be stopped; name the folder of a study.") from None
    except OSError as error:
        raise ConfigError(f"The study at {folder} cannot be asked to stop: {error.strerror}.") from error


def is_stop_asked(folder: Path) -> bool:
    """Tell whether the study of a folder was asked to stop since it was started."""
    return (folder / STOP_FILE).exists()


def forget_stop(folder: Path) -> None:
    """Begin a run: what stopped the one before does not count any more."""
    with suppress(OSError):  # a folder that is not there, or that cannot be written, is named elsewhere
        (folder / STOP_FILE).unlink(missing_ok=True)

"""Why a run of a study ended, and how another thread, process or notebook cell asks a running one to stop.

A reason has a kind that code asks for, and a text that is printed and stored. A request is a file in the study's folder, which every process that works on the study there sees after its epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain
from helpers.results.attributes import STOP_KIND, STOP_REASON

STOPPED = "stopped on request"


class StopKind(StrEnum):
    """Kinds of reasons."""

    FINISHED = "finished"  # all trials
    LIMIT = "limit"  # of time, epochs or compute
    REQUEST = "request"  # `stop`, or its button
    INTERRUPTED = "interrupted"  # Ctrl-C or SIGTERM
    ERROR = "error"
    RUNNING = "running"  # not stopped, or killed


@dataclass(frozen=True)
class StopReason:
    """Why no more trials are run."""

    kind: StopKind
    text: str

    def __str__(self) -> str:
        return self.text


def stop_kind(attributes: Mapping[str, Any]) -> StopKind | None:
    """Kind of the reason that a study stores; None where it was never run.

    Args:
        attributes: User attributes of the study. Studies of earlier versions have a text alone.
    """
    if attributes.get(STOP_KIND) in list(StopKind):
        return StopKind(attributes[STOP_KIND])
    text = attributes.get(STOP_REASON)
    if text is None:
        return None
    starts = {
        STOPPED: StopKind.REQUEST,
        "interrupted": StopKind.INTERRUPTED,
        "timeout of": StopKind.LIMIT,
        "budget ": StopKind.LIMIT,
        "not stopped": StopKind.RUNNING,
        "all ": StopKind.FINISHED,
    }
    return next((kind for start, kind in starts.items() if str(text).startswith(start)), StopKind.ERROR)


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

    >>> helpers.stop(Path("optuna_results/digits"))  # nothing runs: no effect
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

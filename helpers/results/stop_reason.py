"""Why a run of a study ended: a kind that code asks for, and a text that is printed and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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

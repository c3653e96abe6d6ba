"""What to change after a failed trial, by the reason that is stored with it."""

from __future__ import annotations

_OUT_OF_MEMORY = ("outofmemory", "out of memory", "memoryerror")
_BY_WORD = {
    "NonFinite": "a smaller largest lr",
    "trial_timeout": "a larger trial_timeout, fewer epochs, or smaller models in the space",
    "crashed with signal": "--workers 1; see run.log of the trial for its last line",
}


def is_out_of_memory_reason(reason: str) -> bool:
    """Tell whether a stored reason says that memory ran out."""
    return any(word in reason.lower() for word in _OUT_OF_MEMORY)


def remedy(reason: str) -> str:
    """Say what to change about a failure.

    Args:
        reason: As stored with the trial.
    """
    if is_out_of_memory_reason(reason):
        return "set batch_size to 1, or leave the largest models out of the space"
    return next((text for word, text in _BY_WORD.items() if word in reason), "see run.log of the trial")

"""The note that optuna-dashboard shows on a study's page: the report's summary, above whatever a person wrote there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import optuna

from gazegaussian.errors import UserError, first_line
from helpers.results.lookup import only_study
from helpers.storage.backends import open_storage
from helpers.storage.errors import StorageError
from helpers.storage.location import snapshots_of
from helpers.storage.read_only import FAULTS

logger = logging.getLogger(__name__)

BEGIN = "## Summary of the report"
END = "*Written with the report; what stands below this line is kept.*"


def write_note(study: optuna.Study, lines: Sequence[str], folder: Path, storage: str | None = None) -> None:
    """Put the summary into the study's store, unless it is there; a person's own text stays.

    A store that cannot be written costs the note alone.

    Args:
        study: A loaded study; where it was loaded for reading, its store is opened once more to write.
        lines: Markdown, a paragraph each.
        folder: Of the study.
        storage: URL of the store, where it is not in the folder.
    """
    from optuna_dashboard import get_note, save_note  # a web server comes with it

    try:
        before = get_note(study)
        note = "\n\n".join([BEGIN, *lines, END])
        own = _own_text(before)
        note = f"{note}\n\n{own}" if own else note
        if note == before:
            return
        try:
            save_note(study, note)
        except StorageError:
            if storage is None and snapshots_of(folder) is not None:  # the live database may be at work elsewhere
                raise
            save_note(only_study(open_storage(storage, folder), folder, storage), note)
    except (*FAULTS, UserError, OSError, RuntimeError) as error:
        logger.warning("the dashboard's note of %s stays as it was: %s", study.study_name, first_line(error))


def _own_text(note: str) -> str:
    """What a person wrote: above the summary or below it."""
    above, marker, rest = note.partition(BEGIN)
    below = rest.partition(END)[2] if END in rest else ""
    return "\n\n".join(part.strip() for part in (above, below) if part.strip()) if marker else note.strip()

"""Google Drive in Colab while a notebook runs: a mount that has died is made again from the cell, the only place that can."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from gazegaussian.errors import first_line
from helpers.utils.files import is_gone
from helpers.utils.runtime import DRIVE, mount_drive, runtime_name

logger = logging.getLogger(__name__)


def revive_drive(folder: Path) -> None:
    """Mount Google Drive again where a folder on it answers no more; elsewhere do nothing.

    Args:
        folder: That is about to be used; where Drive cannot be mounted, whoever uses it says so in one line.
    """
    if runtime_name() != "Colab" or DRIVE not in Path(os.path.abspath(folder)).parents:
        return
    try:
        os.stat(DRIVE)
        return
    except OSError as error:
        if not is_gone(error):
            return
        logger.warning("Google Drive has gone (%s); mounting it again", error.strerror)
    try:
        mount_drive()
    except Exception as error:  # Colab's own errors differ from front end to front end
        logger.warning("Google Drive could not be mounted again: %s", first_line(error))

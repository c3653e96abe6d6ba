"""Single files that a command writes to a path from the user: they carry a mark, and only marked files are overwritten."""

from __future__ import annotations

from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain

MARK = "gazegaussian"
"""Stands near the beginning of every picture and animation: as its software, comment or metadata."""
_LOOKED_AT = 1 << 16  # bytes


def is_own_output(path: Path) -> bool:
    """Tell whether a file carries the mark."""
    try:
        with open_plain(path, follow=False) as stream:
            return MARK.encode() in stream.read(_LOOKED_AT)
    except (OSError, ValueError):
        return False


def require_own_output(path: Path) -> None:
    """Reject to write where another file, or a link to one, stands.

    Raises:
        ConfigError: It is not one of ours.
    """
    if (path.is_symlink() or path.exists()) and not is_own_output(path):
        raise ConfigError(
            f"{path} is there already and was not written by this program: move it away, or name another."
        )

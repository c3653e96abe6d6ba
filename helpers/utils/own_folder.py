"""A folder for results that the user names: only what was written there by the same kind of command is overwritten."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import find_special, open_plain
from helpers.utils.files import write_json

MARK = ".gazegaussian.json"
_LARGEST_MARK = 1_000_000  # bytes


@dataclass(frozen=True)
class OwnFolder:
    """A folder of results with a mark: the digests of the files that were written there.

    Attributes:
        path: The folder; it need not be there.
        kind: Of results, such as `report`.
    """

    path: Path
    kind: str

    def require_own(self) -> None:
        """Reject a folder that holds anything but what was written there before, as it was written.

        Raises:
            ConfigError: With the first file that is not ours.
        """
        if not (self.path.exists() or self.path.is_symlink()):
            return
        wrong = f"Expected a new, empty or earlier {self.kind} folder as --out"
        if not self.path.is_dir():
            raise ConfigError(f"{wrong}, {self.path} is none. Name another.")
        special = find_special(self.path)
        if special is not None:
            raise ConfigError(f"{wrong}, {special[0]} is {special[1]}. Name another.")
        known = self._known()
        for name, path in self._files().items():
            if name != MARK and known.get(name) != _digest(path):
                raise ConfigError(f"{wrong}, {path} is something else, or was changed since. Name another.")

    def mark(self) -> None:
        """Note what is there as ours."""
        digests = {name: _digest(path) for name, path in self._files().items() if name != MARK}
        write_json(self.path / MARK, {"kind": self.kind, "sha256": digests})

    def _files(self) -> dict[str, Path]:
        return {path.relative_to(self.path).as_posix(): path for path in sorted(self.path.rglob("*")) if path.is_file()}

    def _known(self) -> dict[str, str]:
        try:
            with open_plain(self.path / MARK, follow=False) as stream:
                content = json.loads(stream.read(_LARGEST_MARK))
        except (OSError, ValueError, RecursionError):
            return {}
        known = content.get("sha256") if isinstance(content, dict) and content.get("kind") == self.kind else None
        return known if isinstance(known, dict) else {}


def _digest(path: Path) -> str:
    with open_plain(path, follow=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

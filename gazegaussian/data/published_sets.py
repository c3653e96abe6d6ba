"""The published data sets: how their files are called, who is in which split, where they are offered.

All of it is configuration (`configs/datasets/*.yaml`, one file per data set, its name is the file's).
"""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import Field, ValidationError

from gazegaussian.errors import ConfigError, DataError
from gazegaussian.fields import Section, explain
from gazegaussian.utils.configs import CONFIGS
from gazegaussian.utils.yaml_files import read_yaml

FOLDER = CONFIGS / "datasets"


class PublishedSet(Section):
    """One data set of the published format."""

    title: str
    prefix: str = Field(description="of the file names")
    digits: int = Field(4, description="of the subject's number in the file name")
    evaluation_only: bool = Field(False, description="its files have no pose, scale and 3D points")
    train: tuple[int, ...] = ()
    val: tuple[int, ...] = Field(description="numbers of the subjects")
    repository: str = Field(description="on the model hub, owner/name")
    archives: dict[str, str] = Field(description="archive (or pattern of its parts) by split")
    revision: str = Field("main", description="branch, tag or commit of the repository")
    sha256: dict[str, str] = Field(
        default={}, description="of archives by name; others are checked by what the hub says"
    )

    def file_name(self, subject: int) -> str:
        """File name without prefix."""
        return f"subject{subject:0{self.digits}d}.h5"

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """File names without prefix by split."""
        return {name: tuple(map(self.file_name, getattr(self, name))) for name in ("train", "val")}


@functools.cache
def published_sets() -> dict[str, PublishedSet]:
    """Read the configured data sets, by name.

    Raises:
        ConfigError: A file is no description of a data set.
    """
    sets = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        try:
            sets[path.stem] = PublishedSet.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(error, PublishedSet)}") from error
    return sets


def require_folder(root: Path) -> None:
    """Reject what is no folder.

    Raises:
        DataError: With what to do.
    """
    if root.is_file():
        raise DataError(f"{root}: expected a data folder, found a file; name the folder that it lies in")
    if not root.is_dir():
        raise DataError(
            f"{root}: expected a data folder, found nothing; name one with HDF5 subjects, or make one with `data synth`"
        )


def find_set(root: Path) -> PublishedSet:
    """Tell by the file names which data set a folder holds.

    Raises:
        DataError: There is no such folder, or it holds none of the data sets, or several.
    """
    require_folder(root)
    known = published_sets().values()
    matching = [one for one in known if next(root.glob(f"{one.prefix}*.h5"), None) is not None]
    if len(matching) > 1:
        titles = ", ".join(f"{one.title} ({one.prefix}*.h5)" for one in matching)
        raise DataError(f"{root}: expected the files of one data set, found {titles}; give each a folder of its own")
    if not matching:
        others = sorted({path.name.split("subject")[0] for path in root.glob("*subject*.h5")})
        hint = f" but of other prefixes: {', '.join(others)}" if others else ""
        names = ", ".join(f"{one.prefix}subject{'N' * one.digits}.h5" for one in known)
        raise DataError(f"{root}: expected files {names}, found none{hint}")
    return matching[0]


def set_of_prefix(prefix: str) -> PublishedSet | None:
    """Find the data set by the prefix of its files."""
    return next((one for one in published_sets().values() if one.prefix == prefix), None)

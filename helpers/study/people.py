"""Who trains, validates and tests: stored with a study, and the same ever after.

A file that is added to a folder can turn people who trained into test people. Trials from before and after could not be
compared, and a gain would be confirmed on people that the weights know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError, DataError
from helpers.results.attributes import PEOPLE

GROUPS = ("train", "val", "test")
SHOWN = 3  # names in a message


def groups_of(root: Path) -> dict[str, list[str]] | None:
    """Read the three groups of a data folder.

    Args:
        root: The folder. Synthetic heads have none: the configuration decides their groups.

    Returns:
        File names by group; None for a folder that is not in this project's format, as a stage of one's own may have.
    """
    from gazegaussian.data import people_of

    try:
        people = people_of(root)
    except DataError:
        return None
    return {name: list(getattr(people, name)) for name in GROUPS}


def require_same_people(study: optuna.Study, config: RunConfig) -> None:
    """Reject data whose groups are not those that a study was created with.

    Args:
        study: Created; one of an earlier version knows no groups and is not asked.
        config: Of the run that is to begin.

    Raises:
        ConfigError: Somebody changed groups, came or left.
    """
    stored = study.user_attrs.get(PEOPLE)
    if stored is None or config.data.root is None:
        return
    now = groups_of(config.data.root)
    if now is None or now == stored:
        return
    raise ConfigError(
        f"Study {study.study_name!r} was created with other people: {'; '.join(_differences(stored, now))} in {config.data.root}. "
        "Its trials could not be compared with new ones, and test people may have trained. Restore the files and "
        "train_test_split.json as they were (a list there keeps new files out), or give another --study-name."
    )


def _differences(stored: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[str]:
    """Who comes or is missing, by group."""
    said = []
    for group in GROUPS:
        for word, names in (
            ("new", sorted({*now[group]} - {*stored[group]})),
            ("missing", sorted({*stored[group]} - {*now[group]})),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said.append(f"{word} in {group}: {', '.join(names[:SHOWN])}{more}")
    return said or ["their order differs"]

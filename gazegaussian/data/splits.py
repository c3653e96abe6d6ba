"""Which subject is for what: training, validation (chooses the best epoch and trial) and test.

Lists come from `train_test_split.json`, else from the published ones, else from counting. Where they have no test people of
their own, the validation people are divided: of their sorted names, the first, third, fifth ... are for testing, the others
for validation. Test people are read by `confirm` and `evaluate` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gazegaussian.data.published_sets import find_set, require_folder, set_of_prefix
from gazegaussian.data.synthetic.folder import SETTINGS_FILE, SPLIT_FILE
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.utils.counts import counted
from gazegaussian.utils.yaml_files import read_json

FALLBACK_EVERY = 5
HELD_OUT = "held_out"  # names validation and test people together


@dataclass(frozen=True)
class People:
    """The three groups of a data folder; no subject is in two of them.

    Data sets for evaluation only are the exception: no choice depends on them, so all their people are in `val` and `test`.

    Attributes:
        train: File names without prefix.
        val: Likewise; these choose the best epoch and the best trial.
        test: Likewise; empty where a single subject is held out, which then validates.
        rule: Where the test people come from, in a sentence.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    rule: str

    @property
    def summary(self) -> str:
        """How many there are of each, and why, in one line."""
        return f"{len(self.train)} people train, {len(self.val)} validate, {len(self.test)} test ({self.rule})"


def people_of(root: Path, prefix: str | None = None) -> People:
    """Read who trains, who validates and who tests in a data folder.

    Example:
        >>> people = people_of(Path("data/xgaze"))  # doctest: +SKIP
        >>> len(people.train), len(people.val), len(people.test)  # doctest: +SKIP
        (80, 7, 8)

    Args:
        root: Folder with `<prefix>subjectNNNN.h5` files and, usually, `train_test_split.json`.
        prefix: The data set's file prefix; None finds it by the files.

    Raises:
        DataError: When the folder is missing or empty, the JSON is unusable, or a subject is in train and val.
    """
    return _groups(_lists(root, prefix))


def load_split(root: Path, prefix: str | None = None) -> dict[str, list[str]]:
    """Read the split of a data folder: the groups of `people_of` and what else its file lists.

    Args:
        root: Folder with `<prefix>subjectNNNN.h5` files and, usually, `train_test_split.json`.
        prefix: The data set's file prefix; None finds it by the files.

    Returns:
        File names without prefix by split; at least `train`, `val` and `test`. Without the JSON the published lists, as
        far as their files are there; where the files are not those of the lists, every fifth one is held out (all of a
        set that is for evaluation only).

    Raises:
        DataError: When the folder is missing or empty, the JSON is unusable, or a subject is in train and val.
    """
    lists = _lists(root, prefix)
    people = _groups(lists)
    return lists.stored | {"train": list(people.train), "val": list(people.val), "test": list(people.test)}


def keys_of(root: Path, split: str, prefix: str | None = None) -> list[str]:
    """File names, without prefix, of one split (see `load_split`); `held_out` means validation and test people.

    Raises:
        DataError: There is no such split, or it is `test` and empty.
    """
    splits = load_split(root, prefix)
    if split == HELD_OUT:
        return list(dict.fromkeys([*splits["val"], *splits["test"]]))
    if split not in splits:
        raise DataError(f"{root}: expected one of the splits {', '.join(splits)}, {HELD_OUT}, found {split!r}")
    if split == "test" and not splits[split]:
        raise DataError(
            f"{root}: expected test people, found none: of {counted(len(splits['val']), 'held-out person', 'held-out people')} "
            "none is left for testing; "
            f"add subjects, or a list `test` to {SPLIT_FILE}, or read the split 'val'"
        )
    return list(splits[split])


@dataclass(frozen=True)
class _Lists:
    """What a folder, or the program, says of its people."""

    source: str  # of the lists
    stored: dict[str, list[str]]  # at least train and val
    held_out: list[str]  # all that `val` may list, those included whose files are not there
    files: frozenset[str]  # names of the files that are there, without prefix
    test_is_made_later: bool = False
    evaluation_only: bool = False


def _lists(root: Path, prefix: str | None) -> _Lists:
    root = Path(root)
    prefix = find_set(root).prefix if prefix is None else prefix
    require_folder(root)
    files = sorted(path.name.removeprefix(prefix) for path in root.glob(f"{prefix}*.h5"))
    if not files:
        raise DataError(f"{root}: expected files {prefix}subjectNNNN.h5, found none")
    if not (root / SPLIT_FILE).is_file():
        return _without_file(prefix, files)
    splits = _read(root / SPLIT_FILE)
    both = sorted(set(splits["train"]) & set(splits["val"]))
    if both:
        raise DataError(
            f"{root / SPLIT_FILE}: expected training and validation subjects to differ, found in both: {', '.join(both)}"
        )
    known = set_of_prefix(prefix)
    return _Lists(
        source=SPLIT_FILE,
        stored=splits,
        held_out=splits["val"],
        files=frozenset(files),
        test_is_made_later=(root / SETTINGS_FILE).is_file(),
        evaluation_only=known is not None and known.evaluation_only and not splits["train"],
    )


def _groups(lists: _Lists) -> People:
    """Take the test people from the lists, else from the validation people."""
    train, val, test = (tuple(lists.stored.get(name, ())) for name in ("train", "val", "test"))
    if lists.evaluation_only:
        return People(train, val, val, "the data set is for evaluation only, no choice depends on its subjects")
    reason = _why_not(lists, test)
    if not reason:
        return People(train, val, test, f"{lists.source} lists the test people")
    if len(val) < 2:
        return People(train, val, (), f"{reason}, and {len(val)} held-out cannot be divided")
    tested, kept = divide(lists.held_out, None if lists.source == SPLIT_FILE else lists.files)
    rule = f"{reason}; of the {len(val)} held-out, in order of their names, every other one tests, from the first on"
    return People(train, tuple(kept), tuple(tested), rule)


def _why_not(lists: _Lists, test: Sequence[str]) -> str:
    """Why the list of test people cannot be used; empty when it can."""
    if not test:
        return f"{lists.source} lists no test people"
    for name in ("train", "val"):
        if set(test) & set(lists.stored[name]):
            return f"{lists.source} lists people of {name} under test"
    if not lists.test_is_made_later and not set(test) & lists.files:
        return f"no file of the test people in {lists.source} is there"
    return ""


def divide(held_out: Sequence[str], present: frozenset[str] | None = None) -> tuple[list[str], list[str]]:
    """Divide held-out people into test and validation people.

    Args:
        held_out: File names.
        present: Those whose file is there; None means all. The same person stays in the same group when files are
            added, unless one of the groups was empty.

    Returns:
        Test people (the first, third ... of the sorted names) and validation people, those of `present` only if both
        groups have some.

    Example:
        >>> divide(["subject0025.h5", "subject0012.h5", "subject0022.h5"])
        (['subject0012.h5', 'subject0025.h5'], ['subject0022.h5'])
    """
    names = sorted(held_out)
    groups = names[0::2], names[1::2]
    if present is None:
        return groups
    there = [[name for name in group if name in present] for group in groups]
    if all(there):
        return there[0], there[1]
    left = sorted(set(names) & present)
    return (left[0::2], left[1::2]) if len(left) > 1 else groups


def _without_file(prefix: str, files: list[str]) -> _Lists:
    """Published lists where they name every file and hold a subject out; else count."""
    known = set_of_prefix(prefix)
    present = frozenset(files)
    if known is not None:
        published = {name: [key for key in keys if key in present] for name, keys in known.splits.items()}
        if published["val"] and sum(map(len, published.values())) == len(files):
            source = f"the published split of {known.title}"
            held_out = list(known.splits["val"])
            return _Lists(source, published, held_out, present, evaluation_only=known.evaluation_only)
        if known.evaluation_only:
            return _Lists("the folder", {"train": [], "val": files}, files, present, evaluation_only=True)
    held_out = files[FALLBACK_EVERY - 1 :: FALLBACK_EVERY] or files[1:][-1:]
    stored = {"train": [name for name in files if name not in held_out], "val": held_out}
    return _Lists(f"a folder without {SPLIT_FILE}, where every fifth is held out,", stored, held_out, present)


def _read(path: Path) -> dict[str, list[str]]:
    try:
        content = read_json(path)
    except ConfigError as error:
        raise DataError(
            f"{path}: expected JSON with lists of file names, found none that can be read ({error})"
        ) from error
    if not isinstance(content, dict) or not {"train", "val"} <= content.keys():
        present = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: expected the keys train and val, found {present}")
    for name, keys in content.items():
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise DataError(f"{path}: {name}: expected a list of file names, found {type(keys).__name__}")
        outside = [key for key in keys if Path(key).name != key or "\0" in key]
        if outside:
            raise DataError(f"{path}: {name}: expected names of files in the same folder, found {outside[0][:80]!r}")
        if len(set(keys)) != len(keys):
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise DataError(f"{path}: {name}: expected every subject once, found several times: {', '.join(twice)}")
    return content

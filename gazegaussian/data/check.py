"""Look through a data folder and say what is in it and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gazegaussian.data.pixels import usable_rows
from gazegaussian.data.published_sets import find_set
from gazegaussian.data.splits import SPLIT_FILE, load_split
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.data.synthetic.folder import SETTINGS_FILE
from gazegaussian.errors import DataError


@dataclass(frozen=True)
class DatasetReport:
    """What a data folder holds."""

    root: Path
    data_set: str  # whose layout it is
    subjects: int  # readable files
    images: int  # usable images in them
    skipped: int  # images with a constant head mask, or with both eye masks constant
    splits: dict[str, int]  # subjects per split
    sizes: tuple[int, ...]  # image widths met, pixels
    problems: dict[str, str] = field(default_factory=dict)  # message by file name, or by split

    @property
    def ok(self) -> bool:
        """No file has a problem and there is something to train on and something to validate with."""
        return not self.problems and self.images > 0


def describe(root: Path) -> str:
    """Name the data set in a folder.

    Raises:
        DataError: It holds none, or several.
    """
    known = find_set(root)
    title = "synthetic heads" if (root / SETTINGS_FILE).is_file() else known.title
    return f"{title} (evaluation only)" if known.evaluation_only else title


def check_dataset(root: Path | str) -> DatasetReport:
    """Validate every subject file that the split names or the folder holds.

    Args:
        root: The data folder.

    Returns:
        Counts, and one message per unusable file and per split (of training and validation; sets for evaluation only
        have no training) without usable images.

    Raises:
        DataError: When the folder is missing or empty or its split is unusable.
    """
    root = Path(root)
    known = find_set(root)
    prefix = known.prefix
    splits = load_split(root, prefix)
    present = {path.name.removeprefix(prefix) for path in root.glob(f"{prefix}*.h5")}
    made_later = set(splits["test"]) - present if (root / SETTINGS_FILE).is_file() else set()
    listed = {key for keys in splits.values() for key in keys} - made_later
    subjects = images = skipped = 0
    sizes: set[int] = set()
    problems: dict[str, str] = {}
    useful: set[str] = set()
    for key in sorted(listed | present):
        name = f"{prefix}{key}"
        try:
            file = SubjectFile(root / name, for_training=not known.evaluation_only)
            usable = len(usable_rows(file))
        except DataError as error:
            problems[name] = str(error)
            continue
        subjects = subjects + 1
        images = images + usable
        skipped = skipped + len(file) - usable
        sizes.add(file.size)
        useful |= {key} if usable else set()
        file.close()
    for split in ("val",) if known.evaluation_only else ("train", "val"):
        if not useful & set(splits[split]):
            unusable = f"{len(splits[split])} subjects without any" if splits[split] else "no subject"
            problems[f"split {split}"] = (
                f"expected subjects with usable images, found {unusable}; add subjects, or name others under {split!r} in "
                f"{SPLIT_FILE}"
            )
    counts = {split: len(keys) for split, keys in splits.items()}
    return DatasetReport(root, describe(root), subjects, images, skipped, counts, tuple(sorted(sizes)), problems)

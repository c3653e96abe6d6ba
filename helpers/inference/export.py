"""The verbs that hand a trained model on: which one it is, found before torch and plotly are imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gazegaussian.errors import ConfigError
from helpers.inference.export_marks import CHECKPOINT, own_files
from helpers.inference.export_source import Origin, best_origin
from helpers.storage.location import has_store, require_plain, study_folders

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    folder: Path
    checkpoint: Path
    archive: Path | None  # the same as one file
    outside: Mapping[str, Path] = field(
        default_factory=dict
    )  # files of elsewhere than `source`, by their copies' names


def export(
    source: Path, out: Path | None = None, epochs: int | None = None, storage: str | None = None, archive: bool = False
) -> Exported:
    """Put the best trial of a study, or a training, into one folder ready to be cited.

    The checkpoint is copied byte for byte and loads on its own. Running it again gives the same files. Nothing is
    overwritten or deleted but what an earlier export wrote and what is still as that wrote it.

    Args:
        source: Folder of a study, or of a training (one that holds `best.pt`).
        out: Where to; default `export` in `source`. A mounted Drive will do.
        epochs: Of a study: train its best parameters this long first, in the study's folder. An interrupted training goes
            on, a finished one is taken. None: the best trial as it is.
        storage: Optuna storage URL, when the study is not in its folder's own store.
        archive: Also write the folder as one ZIP file beside it.

    Raises:
        ConfigError: No such study or training, nothing finished in it, or `out` holds something else.
        NonFiniteError: The training diverged.

    >>> found = helpers.export(Path("optuna_results/digits"), Path("my_export"))
    >>> found.checkpoint.as_posix()
    'my_export/best.pt'
    """
    source = Path(source)
    out = source / "export" if out is None else Path(out)
    _require_own(out)
    if source.is_dir():
        require_plain(source)
    if (source / CHECKPOINT).is_file() and not has_store(source):
        if epochs is not None:
            raise ConfigError("Expected --epochs with a study; resume a training with `train --epochs`, then `export`.")
        origin = Origin(source)
    elif storage is None and source.is_dir() and not has_store(source) and not study_folders(source):
        raise ConfigError(
            f"{source} holds neither a study (study.db) nor a training ({CHECKPOINT}). Name the folder of one, such as "
            "optuna_results/NAME of `study` or the --out of `train`."
        )
    else:
        origin = best_origin(source, epochs, storage)
    logger.info("export of %s: loading torch and plotly", source)
    from helpers.inference.export_folder import write_folder  # torch, plotly

    packed, outside = write_folder(origin, out, archive)
    return Exported(out, out / CHECKPOINT, packed, outside)


def _require_own(out: Path) -> None:
    if (out.exists() or out.is_symlink()) and not own_files(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"Expected a new, empty or exported folder as --out, {out} holds something else. Name another."
        )

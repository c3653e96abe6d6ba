"""A trained model as one folder that can be handed on and cited: checkpoint, configuration, report, origin, checksums."""

from __future__ import annotations

import logging
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import jinja2
import optuna
from optuna.trial import FrozenTrial

from gazegaussian.config import GazeGaussianRun, RunConfig, parse_run, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.training.checkpoints import load_checkpoint
from gazegaussian.training.files import atomic_path, commit_file
from gazegaussian.training.hooks import IMAGES
from helpers.export_facts import Facts, collect_facts
from helpers.files import write_json, write_text, write_yaml
from helpers.keep import DiskError
from helpers.live_store import has_store
from helpers.mesh_heads import digest_of
from helpers.records import find_study
from helpers.reruns import open_source, rerun, trial_config
from helpers.results import best_trial, trial_dir
from helpers.study_report import HTML_FILE, MARKDOWN_FILE, write_report

logger = logging.getLogger(__name__)

SUMS, CHECKPOINT, MESHHEAD = "SHA256SUMS", "best.pt", "meshhead.pt"


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    folder: Path
    checkpoint: Path
    archive: Path | None  # the same as one file


@dataclass(frozen=True)
class _Origin:
    """Where the exported model comes from."""

    run: Path  # folder of its training
    study: optuna.Study | None = None
    study_folder: Path | None = None
    trial: FrozenTrial | None = None


def export(
    source: Path, out: Path | None = None, epochs: int | None = None, storage: str | None = None, archive: bool = False
) -> Exported:
    """Put the winner of a study, or a training, into one folder ready to be cited.

    The checkpoint is copied byte for byte and loads on its own. Running it again gives the same files.

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
    """
    source = Path(source)
    out = source / "export" if out is None else Path(out)
    _require_own(out)
    if (source / CHECKPOINT).is_file() and not has_store(source):
        if epochs is not None:
            raise ConfigError(
                "Expected --epochs with a study; a training goes on with `train --epochs`, then `export`."
            )
        origin = _Origin(source)
    else:
        origin = _winner(source, epochs, storage)
    content = load_checkpoint(origin.run / CHECKPOINT)
    config = parse_run(content["config"], origin=str(origin.run / CHECKPOINT))
    _clear(out)
    names = _write(origin, config, collect_facts(content, config, origin.run, origin.study, origin.trial), out)
    write_text(out / SUMS, "".join(f"{digest_of(out / name)}  {name}\n" for name in names))
    logger.info("exported %s to %s", origin.run, out)
    if not archive:
        _zip_path(out).unlink(missing_ok=True)  # of an earlier export
    return Exported(out, out / CHECKPOINT, _zip(out) if archive else None)


def train_winner(folder: Path, epochs: int, storage: str | None = None) -> Path:
    """Train the best parameters of a study for more epochs; a finished training is left as it is.

    Args:
        folder: Of the study; the training lands in its `final_N_epochs`.
        epochs: At least those of a trial.
        storage: As for `export`.

    Returns:
        Folder of the training.

    Raises:
        ConfigError: No such study, no complete trial, or too few epochs.
        NonFiniteError: The training diverged.
    """
    source = open_source(folder, storage=storage)
    trial = _best(source.study)
    config = trial_config(source.config, trial.params)
    length = config.training.epochs
    if epochs < length:
        raise ConfigError(f"Expected at least the {length} epochs of a trial for the final training, got {epochs}.")
    run = Path(folder) / f"final_{epochs}_epochs"
    place = trial_dir(trial, Path(folder))
    # A schedule that depends on the number of epochs cannot be entered half-way.
    goes_on = place is not None and (place / "last.pt").is_file() and config.optim.lr_decay == 1
    found = rerun(source, with_parameters(config, {"epochs": epochs}), run, place if goes_on else None)
    if found.value is None:
        raise NonFiniteError(f"the final training of trial {trial.number}: {found.reason}")
    return run


def _winner(folder: Path, epochs: int | None, storage: str | None) -> _Origin:
    study = find_study(folder, storage)
    trial = _best(study)
    if epochs is not None:
        return _Origin(train_winner(folder, epochs, storage), study, folder, trial)
    run = trial_dir(trial, folder)
    if run is None or not (run / CHECKPOINT).is_file():
        raise ConfigError(
            f"The checkpoint of trial {trial.number}, the best of {folder}, is gone. Give --epochs to train its parameters "
            "again."
        )
    return _Origin(run, study, folder, trial)


def _best(study: optuna.Study) -> FrozenTrial:
    trial = best_trial(study)
    if trial is None:
        raise ConfigError(f"Study {study.study_name!r} has no complete trial to export. Run more trials first.")
    return trial


def _write(origin: _Origin, config: RunConfig, facts: Facts, out: Path) -> list[str]:
    """Write everything but the checksums; returns the names of the files."""
    copies = {CHECKPOINT: origin.run / CHECKPOINT, "metrics.csv": origin.run / "metrics.csv"}
    copies["preview.png"] = origin.run / IMAGES / f"epoch_{facts.epoch:04d}.png"
    if origin.study is not None and origin.study_folder is not None:
        if not (origin.study_folder / HTML_FILE).is_file():
            write_report(origin.study, origin.study_folder)
        copies |= {name: origin.study_folder / name for name in (HTML_FILE, MARKDOWN_FILE, "summary.csv")}
    copies = {name: path for name, path in copies.items() if path.is_file()}
    start = config.meshhead_checkpoint if isinstance(config, GazeGaussianRun) else None
    if start is not None and start.is_file():  # without it nobody else could train this again
        copies[MESHHEAD] = start
        config = config.model_copy(update={"meshhead_checkpoint": Path(MESHHEAD)})
    for name, path in copies.items():
        _copy(path, out / name)
    write_yaml(out / "config.yaml", config.model_dump(mode="json"))
    written = ["config.yaml", "origin.json", "README.md"]
    if facts.parameters:
        write_json(out / "parameters.json", {"stage": config.stage, "parameters": facts.parameters})
        written.append("parameters.json")
    write_json(out / "origin.json", facts.origin())
    names = sorted([*copies, *written])
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    second = isinstance(config, GazeGaussianRun)
    write_text(
        out / "README.md", engine.get_template("export.md.j2").render(facts=facts, files=names, redirects=second)
    )
    return names


def _copy(path: Path, target: Path) -> None:
    """Copy a file whole or not at all, and make sure of it: network folders lose bytes silently."""
    temporary = atomic_path(target)
    try:
        shutil.copyfile(path, temporary)
        shutil.copystat(path, temporary)
        commit_file(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if digest_of(target) != digest_of(path):
        raise DiskError(f"{target} is not what was copied from {path}. Check the disk or the network and export again.")


def _require_own(out: Path) -> None:
    if out.exists() and not (out / SUMS).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"Expected a new, empty or exported folder as --out, {out} holds something else. Name another."
        )


def _clear(out: Path) -> None:
    """Remove the files of an earlier export, so that nothing old stands beside the new."""
    if not (out / SUMS).is_file():
        return
    for line in (out / SUMS).read_text(encoding="utf-8").splitlines():
        (out / Path(line.partition("  ")[2]).name).unlink(missing_ok=True)


def _zip_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.zip")


def _zip(out: Path) -> Path:
    path = _zip_path(out)
    temporary = atomic_path(path)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            for name in sorted(entry.name for entry in out.iterdir() if entry.is_file()):
                file.write(out / name, f"{out.name}/{name}")
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path

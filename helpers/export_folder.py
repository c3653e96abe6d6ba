"""A trained model as one folder that can be handed on and cited: checkpoint, configuration, report, origin, checksums."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import jinja2

from gazegaussian.config import GazeGaussianRun, RunConfig, parse_run
from gazegaussian.training.checkpoints import load_checkpoint
from gazegaussian.training.files import atomic_path, commit_file
from gazegaussian.training.hooks import IMAGES
from helpers.export_facts import Facts, collect_facts
from helpers.exporting import CHECKPOINT, SUMS, Origin
from helpers.files import write_json, write_text, write_yaml
from helpers.keep import DiskError
from helpers.mesh_heads import digest_of
from helpers.results import HTML_FILE, MARKDOWN_FILE
from helpers.study_report import write_report

MESHHEAD = "meshhead.pt"


def write_folder(origin: Origin, out: Path, archive: bool) -> Path | None:
    """Write the folder (see `helpers.export`), and its ZIP file where one is asked for.

    Args:
        origin: What is exported.
        out: New, empty, or of an earlier export.
        archive: Also write the folder as one ZIP file beside it.

    Returns:
        The ZIP file, if any.
    """
    content = load_checkpoint(origin.run / CHECKPOINT)
    config = parse_run(content["config"], origin=str(origin.run / CHECKPOINT))
    _clear(out)
    names = _write(
        origin, config, collect_facts(content, config, origin.run, origin.study, origin.trial, origin.study_folder), out
    )
    write_text(out / SUMS, "".join(f"{digest_of(out / name)}  {name}\n" for name in names))
    if not archive:
        _zip_path(out).unlink(missing_ok=True)  # of an earlier export
    return _zip(out) if archive else None


def _write(origin: Origin, config: RunConfig, facts: Facts, out: Path) -> list[str]:
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

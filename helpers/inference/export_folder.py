"""A trained model as one folder that can be handed on and cited: checkpoint, configuration, report, origin, checksums."""

from __future__ import annotations

import logging
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from gazegaussian.config import GazeGaussianRun, RunConfig, parse_run
from gazegaussian.errors import CheckpointError, ConfigError
from gazegaussian.training.checkpoints import contents_of, load_checkpoint
from gazegaussian.training.hooks import IMAGES
from gazegaussian.utils.atomic_files import atomic_copy, atomic_file
from helpers.inference.export_marks import CHECKPOINT, ORIGIN, SUMS, is_own_archive, own_files, require_free
from helpers.inference.export_source import Origin
from helpers.inference.model_card import Facts, collect_facts
from helpers.reporting.report import write_report
from helpers.results.attributes import MESHHEAD_SHA256
from helpers.results.tables import HTML_FILE, MARKDOWN_FILE
from helpers.utils.files import DiskError, digest_of, disk_problem, write_json, write_text, write_yaml
from helpers.utils.paths import shown_environment, shown_path
from helpers.utils.plain_text import printable

logger = logging.getLogger(__name__)

MESHHEAD_FILE = "meshhead.pt"
_CONFIG = "config.yaml"
_PARAMETERS = "parameters.json"
_README = "README.md"


@dataclass(frozen=True)
class _Content:
    """What goes into the folder."""

    copies: dict[str, Path]  # by their names there
    config: RunConfig
    facts: Facts

    @property
    def names(self) -> list[str]:
        """Of all files, without the checksums."""
        made = {_CONFIG, ORIGIN, _README, *([_PARAMETERS] if self.facts.parameters else [])}
        return sorted({*self.copies, *made})


def write_folder(origin: Origin, out: Path, archive: bool) -> tuple[Path | None, dict[str, Path]]:
    """Write the folder (see `helpers.export`), and its ZIP file where one is asked for.

    Args:
        origin: What is exported.
        out: New, empty, or of an earlier export.
        archive: Also write the folder as one ZIP file beside it.

    Returns:
        The ZIP file, if any, and the files that came from outside the study's or training's folder, by their copies' names.

    Raises:
        ConfigError: Something that is no earlier export's stands under a name that is to be written.
        CheckpointError: The checkpoint cannot be read.
    """
    packed = out.with_name(f"{out.name}.zip")
    own_archive = is_own_archive(packed)
    if archive and not own_archive and (packed.exists() or packed.is_symlink()):
        raise ConfigError(f"{packed} is not of an earlier export: move it away, or name another --out.")
    with tempfile.TemporaryDirectory(prefix="report_") as work:
        content = _content(origin, Path(work))
        ours = own_files(out)
        require_free(out, {*content.names, SUMS}, ours)
        for name in ours:  # so that nothing old stands beside the new
            (out / name).unlink(missing_ok=True)
        _write(content, out)
    write_text(out / SUMS, "".join(f"{digest_of(out / name)}  {name}\n" for name in content.names))
    if archive:
        _zip(out, [*content.names, SUMS], packed)
    elif own_archive:
        packed.unlink()  # of an earlier export
    return packed if archive else None, _outside(origin, content.copies)


def _content(origin: Origin, work: Path) -> _Content:
    """Read what is exported, and choose the files to copy; a report that is missing is written into `work`."""
    checkpoint = origin.run / CHECKPOINT
    content = load_checkpoint(checkpoint)
    config = parse_run(content["config"], origin=str(checkpoint))
    start = _mesh_head(config, origin)
    if isinstance(config, GazeGaussianRun) and start is None:
        described: RunConfig = config.model_copy(update={"meshhead_checkpoint": None})
    else:
        described = config
    with contents_of(checkpoint):
        facts = collect_facts(content, described, origin.run, origin.study, origin.trial, origin.study_folder)
    copies = {CHECKPOINT: checkpoint, "metrics.csv": origin.run / "metrics.csv"}
    copies["preview.png"] = origin.run / IMAGES / f"epoch_{facts.epoch:04d}.png"
    if origin.study is not None and origin.study_folder is not None:
        reports = origin.study_folder
        if not (reports / HTML_FILE).is_file():
            write_report(origin.study, origin.study_folder, out=work)
            reports = work
        copies |= {name: reports / name for name in (HTML_FILE, MARKDOWN_FILE)}
        copies["summary.csv"] = origin.study_folder / "summary.csv"
    copies = {name: path for name, path in copies.items() if path.is_file()}
    if start is not None:  # without it this could not be trained again elsewhere
        copies[MESHHEAD_FILE] = start.resolve()
    return _Content(copies, _portable(config, start is not None), facts)


def _mesh_head(config: RunConfig, origin: Origin) -> Path | None:
    """The MeshHead that a training started from, once it is known to be one: a checkpoint may name any file.

    Returns:
        The file; None, with a line in the log, where there is none or it is something else.
    """
    path = config.meshhead_checkpoint if isinstance(config, GazeGaussianRun) else None
    if path is None or not path.is_file():
        return None
    recorded = None if origin.study is None else origin.study.user_attrs.get(MESHHEAD_SHA256)
    try:
        if recorded not in (None, digest_of(path)):
            raise CheckpointError("its digest is not the one that the study recorded")
        load_checkpoint(path, "meshhead")
    except CheckpointError as error:
        logger.warning("the MeshHead checkpoint that %s names is left out: %s", origin.run, error)
        return None
    return path


def _portable(config: RunConfig, with_mesh_head: bool) -> RunConfig:
    """The configuration without the paths of this machine."""
    changes: dict[str, Any] = {}
    if config.data.root is not None:
        changes["data"] = config.data.model_copy(update={"root": Path(shown_path(config.data.root))})
    if config.init_from is not None:
        changes["init_from"] = Path(shown_path(config.init_from))
    start = config.meshhead_checkpoint if isinstance(config, GazeGaussianRun) else None
    if start is not None:
        changes["meshhead_checkpoint"] = Path(MESHHEAD_FILE if with_mesh_head else shown_path(start))
    return config.model_copy(update=changes)


def _write(content: _Content, out: Path) -> None:
    """Write everything but the checksums."""
    for name, path in content.copies.items():
        _copy(path, out / name)
    config = content.config
    facts = content.facts
    write_yaml(out / _CONFIG, config.model_dump(mode="json"))
    if facts.parameters:
        write_json(out / _PARAMETERS, {"stage": config.stage, "parameters": facts.parameters})
    known = facts.origin()
    write_json(out / ORIGIN, {**known, "environment": shown_environment(known["environment"])})
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: _inert(value) if isinstance(value, str) else value,
    )
    titles = {"gazegaussian": "GazeGaussian", "meshhead": "MeshHead"}
    page = engine.get_template("export.md.j2").render(
        facts=facts,
        files=content.names,
        redirects=isinstance(config, GazeGaussianRun),
        own=config.stage not in titles,
        title=titles.get(config.stage, config.stage),
    )
    write_text(out / _README, page)


def _inert(text: str) -> str:
    """A name or value from a study, in a page of Markdown: on one line, without tags, and within its code span."""
    return printable(text).replace("<", "&lt;").replace("`", "'")


def _outside(origin: Origin, copies: Mapping[str, Path]) -> dict[str, Path]:
    """Files that come from elsewhere than the exported folder: a study may name a trial, and a checkpoint a MeshHead, there."""
    home = (origin.study_folder or origin.run).resolve()
    return {
        name: path
        for name, path in copies.items()
        if name not in (HTML_FILE, MARKDOWN_FILE) and not path.resolve().is_relative_to(home)
    }


def _copy(path: Path, target: Path) -> None:
    """Copy a file whole or not at all, and make sure of it: network folders lose bytes silently."""
    try:
        atomic_copy(path, target)
    except OSError as error:
        raise DiskError(disk_problem(error) or f"{path} cannot be exported: {error}.") from error
    if digest_of(target) != digest_of(path):
        raise DiskError(f"{target} is not what was copied from {path}. Check the disk or the network and export again.")


def _zip(out: Path, names: Iterable[str], path: Path) -> None:
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(names):
            file.write(out / name, f"{out.name}/{name}")

"""Small files written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.training.files import atomic_path, commit_file
from gazegaussian.yaml_files import dump_yaml, read_json, read_yaml, shorten
from helpers.utils.plain_text import csv_text

logger = logging.getLogger(__name__)


def say_if_new(folder: Path) -> None:
    """Log where results will land when the folder is still to be made: the script may run in any folder."""
    if not folder.exists():
        logger.info("results: %s (made now; --out names another place)", folder.resolve())


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Say of a result file that it cannot be used, whatever reading it in a `with` block raises.

    Raises:
        ConfigError: Names the file and what is wrong.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = shorten(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(
            f"{path} holds what this program does not write ({what}); move it away and try again."
        ) from error


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a binary file atomically."""
    temporary = atomic_path(path)
    try:
        temporary.write_bytes(content)
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write JSON atomically."""
    return write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    """Write YAML atomically."""
    return write_text(path, dump_yaml(json.loads(json.dumps(content, default=str))))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows atomically; columns in order of first appearance, text that a spreadsheet would take for a formula quoted."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(stream)
    for cells in [names, *([row.get(name, "") for name in names] for row in rows)]:
        writer.writerow([csv_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return write_text(path, stream.getvalue())


def read_winner(path: Path, stage: str | None = None) -> dict[str, Any]:
    """Read a winner (`best.json`, `best.yaml`); a plain mapping is taken for its parameters.

    Args:
        path: The file.
        stage: The stage that the parameters must belong to, where the file says; None takes any.

    Raises:
        ConfigError: Missing, unreadable, no mapping or of the other stage.
    """
    content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if isinstance(content, dict) and "parameters" not in content:
        content = {"parameters": content}
    if not isinstance(content, dict) or not isinstance(content["parameters"], dict):
        raise ConfigError(f"{path} must hold a mapping of parameters, as a study's best.json does.")
    if stage is not None and content.get("stage", stage) != stage:
        raise ConfigError(
            f"{path} holds the best parameters of stage {content['stage']}, but you train {stage}. Give the best.json of a "
            f"{stage} study."
        )
    return content


def winners(out: Path, stage: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Find the `best.json` of every study of a stage under `out`; one that cannot be read is logged and passed over.

    Args:
        out: Where studies are.
        stage: `meshhead` or `gazegaussian`.

    Yields:
        File and content.
    """
    for path in Path(out).glob("*/best.json"):
        try:
            content = read_json(path)
        except ConfigError as error:  # another study's may serve
            logger.warning("%s is passed over: %s", path, error)
            continue
        if isinstance(content, dict) and content.get("stage") == stage:
            yield path, content


def read_parameters(path: Path) -> dict[str, Any]:
    """Parameters of a winner (see `read_winner`)."""
    return dict(read_winner(path)["parameters"])

"""Reads the best trial that a study exports (`best.json`, `best.yaml`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import read_json, read_yaml

logger = logging.getLogger(__name__)


def read_best(path: Path, stage: str | None = None) -> dict[str, Any]:
    """Read a best trial (`best.json`, `best.yaml`); a plain mapping is taken for its parameters.

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


def best_files(out: Path, stage: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Find the `best.json` of every study of a stage under `out`; one that cannot be read is logged and skipped.

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
            logger.warning("%s is skipped: %s", path, error)
            continue
        if isinstance(content, dict) and content.get("stage") == stage:
            yield path, content

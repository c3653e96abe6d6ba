"""Small files that people hand in: YAML as they write it (a key given twice is an error, 1e-3 is a number), and JSON.

Whatever is in them, reading ends soon, takes little memory and executes nothing.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import open_plain

_LARGEST_FILE = 2_000_000  # bytes
_MOST_VALUES = 50_000
_DEEPEST = 50
_LONGEST_VALUE = 2_000
# Beside YAML's own: what its constructors raise for dates, numbers and keys that are none.
_REJECTED = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


class _UniqueKeyLoader(_SafeLoader):
    """`yaml.safe_load` that rejects a key given twice (YAML itself keeps the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)  # type: ignore[no-untyped-call]
            if key in seen:
                raise ConfigError(
                    f"{node.start_mark.name}, line {key_node.start_mark.line + 1}: key {key!r} is given twice"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-3 as a string; people write it all the time.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, refusing duplicate keys and whatever would grow beyond measure (aliases of aliases).

    Raises:
        ConfigError: The file is missing, is no YAML, holds no mapping, gives a key twice or is too large.
    """
    stream = io.StringIO(read_text(path))
    stream.name = str(path)
    try:
        _require_small(yaml.parse(stream, Loader=_UniqueKeyLoader), path)
        stream.seek(0)
        content = yaml.load(stream, Loader=_UniqueKeyLoader)
    except _REJECTED as error:
        raise ConfigError(
            f"{path} is no valid YAML: {shorten(str(error), 400)}. Correct it, or name a file of `key: value` lines as those "
            "in configs."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must hold a mapping (`key: value` lines, as the files in configs), not {type(content).__name__}. "
            "Correct it, or name another file."
        )
    return content


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ConfigError: The file is missing, is no JSON or is too large.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid JSON: {shorten(str(error), 400)}") from error


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        ConfigError: Missing, not UTF-8 or too large.
    """
    try:
        with open_plain(path) as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) <= _LARGEST_FILE:
            return content.decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"Cannot read {path}: {reason}. Give an existing file of plain text.") from error
    raise ConfigError(f"{path} is larger than {_LARGEST_FILE / 1e6:g} MB: no configuration, study file or result is.")


def _require_small(events: Iterable[yaml.Event], path: Path) -> None:
    """Reject what would take minutes or gigabytes to build or to print, before anything is built.

    Args:
        events: Of the document; reading them takes no recursion and no memory.
        path: Named in the error.

    Raises:
        ConfigError: Too deep, too many values with every alias written out, too long a value, or an endless one.
    """
    sizes: dict[str | None, int] = {}  # values under each anchor, once it is complete
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            inside_itself = any(anchor == event.anchor for anchor, _ in open_nodes)
            total += _MOST_VALUES if inside_itself else sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total - 1))
            else:
                sizes.update({event.anchor: 1} if event.anchor else {})
        long = isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_VALUE
        if long or len(open_nodes) > _DEEPEST or total >= _MOST_VALUES:
            raise ConfigError(
                f"{path}{_line_of(event)}: too much for a configuration (at most {_MOST_VALUES} values, "
                f"{_DEEPEST} levels and {_LONGEST_VALUE} characters a value)."
            )


def _line_of(event: yaml.Event) -> str:
    return "" if event.start_mark is None else f", line {event.start_mark.line + 1}"


def shorten(text: str, width: int) -> str:
    """Put a text of unknown length on one line of at most `width` characters."""
    return textwrap.shorten(text[: 4 * width], width, placeholder=" ...")


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Serialise for people: block style, order kept."""
    return yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=False)

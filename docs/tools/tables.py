"""Tables of the reference pages, written from the pydantic models: every key, its values, default and meaning.

A page holds a pair of marks per table, `<!-- table: NAME -->` and `<!-- end -->`; what stands between them is replaced.
`python -m docs.tools.tables` writes them, a test compares them.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.tools.repository import ROOT, address, with_address
from gazegaussian.config import STAGES
from gazegaussian.fields import Section
from helpers.search import constraints, parameters, study_config
from helpers.search.samplers_and_pruners import PRUNERS, describe_pruner
from helpers.search.study_config import SHORT_SAMPLERS, Component

PAGES = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
EPOCHS = 9  # of a trial, for the pruners whose presets depend on it
_WORDS = {bool: "true, false", int: "whole number", float: "number", str: "text", Path: "path", type(None): ""}


def kind(annotation: Any) -> str:
    """Say what values an annotation admits, in words of YAML."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0])
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(kind, arguments))))
    if origin is dict:
        return "mapping"
    if origin in (list, tuple):
        return f"list of {kind(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "see below"
    return _WORDS[annotation]


def bounds(info: FieldInfo) -> str:
    """Say the limits of a number, such as `above 0, at most 18`; those inside its annotation, too."""
    limits: dict[str, Any] = {}
    for part in (*info.metadata, *_nested_metadata(info.annotation)):
        for word, name in {"above": "gt", "at least": "ge", "below": "lt", "at most": "le"}.items():
            value = getattr(part, name, None)
            if value is not None and name not in limits:
                limits[name] = f"{word} {value:g}"
    return ", ".join(limits.values())


def _nested_metadata(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return [inner for part in annotation.__metadata__ for inner in (part, *getattr(part, "metadata", ()))]
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for argument in get_args(annotation) for part in _nested_metadata(argument)]
    return []


def shown(value: Any) -> str:
    """Write a default as YAML would."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Component):
        return f"`{value.name}`"
    if value is None or isinstance(value, BaseModel) or value == {}:
        return "empty"
    if isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rows(model: type[BaseModel], defaults: BaseModel | None = None) -> list[tuple[str, str, str, str]]:
    """List key, values, default and meaning of every field; sections of a run configuration are left out.

    Args:
        model: Whose fields.
        defaults: Holds other defaults than the model's own.

    Raises:
        ValueError: A field has no description.
    """
    fields = []
    for name, info in model.model_fields.items():
        if _is_section(info.annotation):
            continue
        if not info.description:
            raise ValueError(f"{model.__name__}.{name} has no description: give it one in its Field()")
        default = info.get_default() if defaults is None else getattr(defaults, name)
        values = ", ".join(filter(None, (kind(info.annotation), bounds(info))))
        fields.append((f"`{name}`", values, shown(default), _sentence(info.description)))
    return fields


def _sentence(text: str) -> str:
    """Begin with a capital letter, unless a value of the key comes first (`auto: fp32 on CPU`)."""
    first = text.split(maxsplit=1)[0]
    capital = text if first.endswith(":") and first[:-1] != "MeshHead" else text[0].upper() + text[1:]
    return capital.replace("|", "\\|")


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(header)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *map(list, lines))) + "\n"


def _model(model: type[BaseModel], defaults: BaseModel | None = None) -> Callable[[], str]:
    return lambda: table(("key", "values", "default", "meaning"), rows(model, defaults))


def _pruners() -> str:
    lines = ((f"`{name}`", describe_pruner(Component(name=name), EPOCHS).removeprefix(f"{name}: ")) for name in PRUNERS)
    return table(("name", f"class and arguments (trials of {EPOCHS} epochs)"), lines)


def _samplers() -> str:
    return table(("name", "class"), ((f"`{name}`", f"`{path}`") for name, path in SHORT_SAMPLERS.items()))


def tables() -> dict[str, Callable[[], str]]:
    """Every table by the name that its mark bears: `meshhead.optim`, `study`, `float`."""
    makers: dict[str, Callable[[], str]] = {
        "study": _model(study_config.StudyFile),
        "component": _model(study_config.Component),
        "budget": _model(constraints.Budget),
        "categorical": _model(parameters.Categorical),
        "int": _model(parameters.Int),
        "float": _model(parameters.Float),
        "samplers": _samplers,
        "pruners": _pruners,
    }
    for stage, run in STAGES.items():
        makers[stage] = _model(run)
        whole = run()
        for name, info in run.model_fields.items():
            if _is_section(info.annotation):
                makers[f"{stage}.{name}"] = _model(type(getattr(whole, name)), getattr(whole, name))
    return makers


def filled(text: str) -> str:
    """Fill the marks of a page."""
    known = tables()
    return BLOCK.sub(lambda match: f"{match[1]}{known[match[2]]()}{match[4]}", text)


def main() -> None:
    """Write the tables of every page, and the repository's address into the README."""
    for page in (ROOT / "README.md", *sorted(PAGES.glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        new = filled(text) if page.parent == PAGES else with_address(text, address())
        if new != text:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()

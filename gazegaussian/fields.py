"""Fields of configuration schemas: their bare names, and what was found wrong with them, on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import shorten

_RUNS = "it decides how a trial is run, not what it learns"
_MEASURES = "trials with different values could not be compared"
# Fields that no search may use, beside all those of `data`, and why.
_NOT_SEARCHED = {
    "epochs": _MEASURES,
    "seed": "a search over it finds luck",
    "device": _RUNS,
    "threads": _RUNS,
    "gpu_memory_gb": _RUNS,
    "monitor": _MEASURES,
    "monitor_mode": _MEASURES,
    "preview_images": _RUNS,
    "variant": "it is another model: give each variant a study of its own",
    "mlp_widths": "it is no single value",
    "landmarks": "the data decide it",
    "splat_backend": _RUNS,
}


class Section(BaseModel):
    """Base of all sections: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parameter_fields(config: type[BaseModel] | BaseModel) -> dict[str, tuple[str, str]]:
    """Map every bare field name to its (section, field). Names are unique by construction (a test holds that)."""
    cls = config if isinstance(config, type) else type(config)
    table: dict[str, tuple[str, str]] = {}
    for section, info in cls.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            table.update({name: (section, name) for name in info.annotation.model_fields})
    return table


def searchable(config: type[BaseModel] | BaseModel) -> list[str]:
    """List the fields that a search may use, sorted."""
    fields = parameter_fields(config)
    return sorted(name for name, (section, _) in fields.items() if section != "data" and name not in _NOT_SEARCHED)


def check_parameter_names(config: type[BaseModel] | BaseModel, names: list[str], origin: str = "parameters") -> None:
    """Reject names that are no field of the run configuration, listing the known ones.

    Raises:
        ConfigError: With suggestions and the names that a search may use.
    """
    known = parameter_fields(config)
    for name in names:
        if name not in known:
            useful = searchable(config)
            near = _did_you_mean(name, useful, 3)
            raise ConfigError(f"{origin}: unknown parameter {name!r}.{near} Known: {', '.join(useful)}.")


def check_searched(config: type[BaseModel] | BaseModel, names: Sequence[str], origin: str = "search space") -> None:
    """Reject fields that say where, how long or by what a trial is measured: their best value would mean nothing.

    Args:
        config: Whose fields the names are.
        names: Searched parameters, all of them known.
        origin: Named in the error.

    Raises:
        ConfigError: With the reason and the names that a search may use.
    """
    known = parameter_fields(config)
    for name in names:
        reason = _NOT_SEARCHED.get(name)
        if name in known and known[name][0] == "data":
            reason = "trials on different data could not be compared"
        if reason is not None:
            raise ConfigError(
                f"{origin}: {name!r} cannot be searched ({reason}). A search may use: {', '.join(searchable(config))}."
            )


def explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Put pydantic's findings on one line: field, value, what was wrong; of unknown keys what was probably meant.

    Args:
        error: The findings.
        schema: What was validated.
    """
    parts = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "configuration"
        if item["type"] == "extra_forbidden":
            parts.append(f"{name}: unknown key.{_known_keys(schema, item['loc'])}")
            continue
        given = "" if item["type"] in ("missing", "value_error") else f" (got {shorten(repr(item.get('input')), 80)})"
        parts.append(f"{name}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(parts)


def _known_keys(schema: type[BaseModel], path: Sequence[int | str]) -> str:
    """Suggest a key for the unknown one at the end of `place` and list the known ones; empty where none are known."""
    *above, wrong = path
    owner = schema
    for part in above:
        field = owner.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ""
        owner = field.annotation
    elsewhere = {name: f"{section}.{name}" for name, (section, _) in parameter_fields(schema).items()}
    if str(wrong) in elsewhere:  # right key, wrong section
        return f" Did you mean {elsewhere[str(wrong)]!r}?"
    return f"{_did_you_mean(str(wrong), owner.model_fields)} Known: {', '.join(owner.model_fields)}"


def _did_you_mean(wrong: str, known: Iterable[str], most: int = 1) -> str:
    close = difflib.get_close_matches(wrong, known, n=most)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""

"""Names of studies, and of trials: what a trial's folder, its log lines and its label in the dashboard are called.

A scheme is a format string over the trial's number and its searched parameters, such as `t{number:03d}_lr{lr:.1e}`, or a
function of the trial. A trial keeps the name that it got, also when the scheme changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter

import optuna

from gazegaussian.errors import ConfigError
from gazegaussian.utils.yaml_files import shorten
from helpers.search.parameters import Categorical, Float, Int

TrialNamer = Callable[[optuna.Trial], str]

DEFAULT_NAME = "trial_{number:04d}"
NAME = "name"  # user attribute of a trial
LONGEST, LONGEST_STUDY = 120, 100  # characters; file systems take 255
SMOKE = "smoke"  # after the stage, in names of studies that smoke-test a notebook; a number may follow
# What a study's folder holds beside its trials, up to the first dot.
_TAKEN = {"artifacts", "audit", "best", "confirm", "continued", "figures", "report", "stop", "study", "summary", "top"}


def is_smoke_test(name: str) -> bool:
    """Tell whether a study is only a smoke test of a notebook: any other one is shown before it."""
    return re.fullmatch(rf".+_{SMOKE}(_\d+)?", name) is not None


def valid_study_name(name: str) -> str:
    """Give the name of a study back where its folder can be called so.

    Raises:
        ValueError: It cannot.
    """
    if re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name) is None or len(name) > LONGEST_STUDY:
        raise ValueError(
            f"expected at most {LONGEST_STUDY} letters, digits, '_', '.' and '-', a letter or digit first, got "
            f"{shorten(repr(name), 2 * LONGEST_STUDY)}"
        )
    return name


class _Inactive:
    """Value of a parameter that does not act in a trial."""

    def __format__(self, spec: str) -> str:
        return "off"


def make_namer(scheme: str | TrialNamer, parameters: Mapping[str, Categorical | Int | Float]) -> TrialNamer:
    """Turn a scheme into a function.

    Args:
        scheme: Format string or function.
        parameters: Searched ones by name.

    Raises:
        ValueError: A field is unknown or cannot be written so, or the number is missing, which keeps names apart.
    """
    if callable(scheme):
        return scheme
    try:
        fields = {name: spec for _, name, spec, _ in Formatter().parse(scheme) if name is not None}
    except ValueError as error:
        raise ValueError(f"trial_name {scheme!r} is no format string ({error}), such as {DEFAULT_NAME!r}") from error
    unknown = [name for name in fields if name not in ("number", *parameters)]
    if unknown:  # attributes and indices too
        raise ValueError(f"trial_name holds {{{unknown[0]}}}; known fields: {', '.join(('number', *parameters))}")
    if "number" not in fields:
        raise ValueError(f"trial_name {scheme!r} needs {{number}}, or trials would share a folder")
    for name, spec in fields.items():
        if re.search(r"[{}]|\d{3}", spec or ""):  # nested fields, names of gigabytes
            raise ValueError(f"trial_name cannot use the format {spec!r} of {name}")
        for value in [0] if name == "number" else parameters[name].corners():
            try:
                scheme.format(**{**dict.fromkeys(fields, _Inactive()), name: value})
            except ValueError as error:
                raise ValueError(f"trial_name cannot write {name} {value!r} as {spec!r}: {error}") from error
    return lambda trial: scheme.format(**{**dict.fromkeys(fields, _Inactive()), **trial.params, "number": trial.number})


def plain_name(trial: optuna.Trial) -> str:
    """Name of a trial without a scheme."""
    return DEFAULT_NAME.format(number=trial.number)


def name_trial(study: optuna.Study, trial: optuna.Trial, namer: TrialNamer) -> str:
    """Name a trial and store that.

    Args:
        study: Whose trials must be told apart.
        trial: At its beginning, with its parameters.
        namer: The scheme.

    Returns:
        A name that is fit for a folder and no other trial's; where the scheme repeats itself, the number follows it.

    Raises:
        ConfigError: The scheme gives no name, or one that is too long.
    """
    given = namer(trial)
    name = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", given).lstrip("-.") if isinstance(given, str) else ""
    if not name or len(name) > LONGEST:
        raise ConfigError(f"trial_name must give 1 to {LONGEST} letters or digits, not {str(given)[:60]!r}; change it.")
    trial.set_user_attr(NAME, name)
    # Stored first, compared then: of two workers that choose the same name at the same moment, one sees the other.
    others = [t.user_attrs.get(NAME) for t in study.get_trials(deepcopy=False) if t.number != trial.number]
    if name in others or name.partition(".")[0].lower() in _TAKEN:
        name = f"{name}_{trial.number:04d}"
        trial.set_user_attr(NAME, name)
    return name


def tag(trial: optuna.Trial) -> str:
    """How log lines call a trial."""
    name = trial.user_attrs.get(NAME, plain_name(trial))
    return f"trial {trial.number}" if name == plain_name(trial) else f"trial {trial.number} ({name})"

"""Takes the finished trials of a study over into a study with another search space.

A fingerprint keeps a study from being resumed with another space, since Optuna would mix trials that cannot be compared. What can
be compared is worth keeping: a trial moves when the new study could have run it with the same outcome. A parameter that
the old study did not search had the run configuration's value; one that the new study does not search, or not under these
conditions, must have had it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from gazegaussian.utils.counts import counted
from helpers.results.attributes import BASELINE, FINGERPRINT, OWNER, RESUME_OF, STAGE
from helpers.results.lookup import find_study, stored_config
from helpers.results.tables import save_results
from helpers.results.trial_states import FINISHED
from helpers.search.constraints import Constraint
from helpers.search.parameters import same
from helpers.search.space import baseline, check_space, configured, load_study_file
from helpers.search.study_config import StudyFile
from helpers.search.trial_names import valid_study_name
from helpers.storage.backends import open_storage
from helpers.storage.location import snapshots_of
from helpers.study.people import require_same_people
from helpers.study.resume import store_settings
from helpers.utils.files import write_yaml
from helpers.utils.paths import study_folder_of

RUN_CONFIG_FILE = "run_config.yaml"
ORIGIN = "migrated_from"  # attribute of the study: the old one's name; of a trial: its number there


class Migration(NamedTuple):
    """What became of the finished trials."""

    study: optuna.Study
    kept: list[int]  # numbers in the old study
    dropped: dict[int, str]  # number in the old study -> why


def migrate_study(
    folder: Path, study: Path, study_name: str, out: Path | None = None, storage: str | None = None
) -> Migration:
    """Begin a study with another search space from the comparable trials of an old one.

    Args:
        folder: Of the old study; it stays as it is.
        study: Study file of the new one.
        study_name: Of the new one; running a study of this name with that file continues from the copied trials.
        out: Where the new folder goes; default beside the old one.
        storage: URL for both, when the old study is not in its folder's own store.

    Raises:
        ConfigError: Nothing can be compared (stage, metric, epochs), or the name is taken.
    """
    try:
        new_folder = Path(out or Path(folder).parent) / valid_study_name(study_name)
    except ValueError as error:
        raise ConfigError(f"--study-name: {error}.") from error
    old = find_study(Path(folder), storage)
    stage = old.user_attrs.get(STAGE, "meshhead")
    study_file = load_study_file(study, stage, study_folder_of(stage))
    plan = _plan(old, study_file)  # before there is a store: an empty one would be taken for a study
    migration = _begin(old, plan, study_file, study_name, open_storage(storage, new_folder))
    save_results(migration.study, new_folder)
    if storage is None and (copies := snapshots_of(new_folder)) is not None:
        copies.save()
    return migration


def continuation(study: optuna.Study, folder: Path, study_file: Path) -> list[str]:
    """Write the run configuration of a migrated study beside its results, and name the command that runs the study.

    Returns:
        Arguments of the script.
    """
    config = stored_config(study)
    file = write_yaml(folder / RUN_CONFIG_FILE, config.model_dump(mode="json"))
    options = {
        "--config": file,
        "--study": study_file,
        "--study-name": study.study_name,
        "--epochs": config.training.epochs,
        "--out": folder.parent,
        "--data": config.data.root,
        "--meshhead": config.starts_from,
        "--init-from": config.init_from,
    }
    given = [(name, str(value)) for name, value in options.items() if value is not None]
    return ["study", config.stage, *(word for pair in given for word in pair)]


def migrate(old_study: optuna.Study, study_file: StudyFile, new_name: str, storage: str | BaseStorage) -> Migration:
    """Create a study with the comparable trials of another; its next run continues from them.

    Values, intermediate values, times and attributes move along, so that checkpoints stay where they are. Where the
    baseline does not move, it is queued again. A migration that was killed is started anew by the next call.

    Args:
        old_study: Left as it is.
        study_file: The new search space; its `study_name` is not used.
        new_name: Of the new study.
        storage: Where the new study goes.

    Returns:
        The new study, what moved and what did not.

    Raises:
        ConfigError: The old study is none of ours or measures something else, or the new name is taken.
    """
    return _begin(old_study, _plan(old_study, study_file), study_file, new_name, storage)


class _Plan(NamedTuple):
    """What a migration will do."""

    config: RunConfig
    start: dict[str, Any]  # the baseline's values
    moved: list[FrozenTrial]
    dropped: dict[int, str]  # number in the old study -> why


def _plan(old: optuna.Study, study_file: StudyFile) -> _Plan:
    """Check everything and look at every trial; nothing is written."""
    if FINGERPRINT not in old.user_attrs:
        raise ConfigError(f"Study {old.study_name!r} has no fingerprint: it was not created by this program.")
    stored = json.loads(old.user_attrs[FINGERPRINT])
    config = stored_config(old)
    _check_comparable(old, stored, config, study_file)
    require_same_people(old, config)
    start = baseline(study_file, config)
    check_space(study_file, config)
    limits = {metric: Constraint.parse(metric, text) for metric, text in stored.get("constraints", {}).items()}
    moved = []
    dropped = {}
    for trial in old.get_trials(deepcopy=False, states=FINISHED):
        try:
            moved.append(_moved(trial, old.study_name, study_file, config, limits))
        except ValueError as reason:
            dropped[trial.number] = str(reason)
    return _Plan(config, start, moved, dropped)


def _begin(
    old: optuna.Study, plan: _Plan, study_file: StudyFile, new_name: str, storage: str | BaseStorage
) -> Migration:
    _make_room(new_name, storage)
    study = optuna.create_study(study_name=new_name, storage=storage, directions=study_file.directions)
    study.set_user_attr(ORIGIN, old.study_name)
    study.add_trials(plan.moved)
    if not any(trial.user_attrs.get(BASELINE) for trial in plan.moved):
        study.enqueue_trial(plan.start, user_attrs={BASELINE: True})
    store_settings(study, study_file, plan.config)
    kept = [trial.user_attrs[ORIGIN]["trial"] for trial in plan.moved]
    return Migration(study, kept, plan.dropped)


def _check_comparable(old: optuna.Study, stored: Mapping[str, Any], config: RunConfig, study_file: StudyFile) -> None:
    for name in ("metric", "direction"):
        if stored[name] != getattr(study_file, name):
            raise ConfigError(
                f"Study {old.study_name!r} has {name} {stored[name]}, the study file {getattr(study_file, name)}: its "
                "trials cannot be compared. Begin a new study."
            )
    if study_file.epochs not in (None, config.training.epochs):
        raise ConfigError(
            f"Study {old.study_name!r} trains {counted(config.training.epochs, 'epoch')}, the study file asks for "
            f"{study_file.epochs}: its trials cannot be compared. Begin a new study."
        )


def _make_room(name: str, storage: str | BaseStorage) -> None:
    """Remove what a killed migration left; reject a name that is taken."""
    try:
        taken = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return
    if ORIGIN not in taken.user_attrs or FINGERPRINT in taken.user_attrs:
        raise ConfigError(f"There is a study {name!r} already. Give the new study another name.")
    optuna.delete_study(study_name=name, storage=storage)


def _moved(
    trial: FrozenTrial, origin: str, study_file: StudyFile, config: RunConfig, limits: Mapping[str, Constraint]
) -> FrozenTrial:
    """Write a trial as the new study would have.

    Raises:
        ValueError: Why it cannot be.
    """
    own = configured(study_file, config)
    values: dict[str, Any] = {}
    for name in study_file.order():
        value = trial.params.get(name, own[name])
        if study_file.is_active(name, values):
            if not study_file.parameters[name].contains(value):
                raise ValueError(f"{name} = {value} lies outside the new space")
            values[name] = value
        elif not same(value, own[name]):
            raise ValueError(f"{name} = {value} acts no longer there, and the run configuration has {own[name]}")
    for name, value in trial.params.items():
        if name not in study_file.parameters and not same(value, fixed := _configured_value(config, name)):
            raise ValueError(f"{name} = {value} is no longer searched, and the run configuration has {fixed}")
    new = copy.deepcopy(trial)
    new.params = values
    new.distributions = {name: study_file.parameters[name].distribution for name in values}
    kept = {key: value for key, value in trial.user_attrs.items() if key not in (OWNER, RESUME_OF)}  # numbers change
    new.user_attrs = {**kept, ORIGIN: {"study": origin, "trial": trial.number}}
    new.system_attrs = {}  # notes of samplers and pruners hold for the old space only
    for limit in study_file.limits:
        before = limits.get(limit.metric)
        violation = trial.constraints.get(limit.metric)
        if violation is None and trial.state == TrialState.PRUNED:
            continue
        if before is None or violation is None:
            raise ValueError(f"its {limit.metric} was no constraint and is not known")
        measured = before.bound - violation if before.sense == ">=" else before.bound + violation
        new.set_constraint(limit.metric, limit.violation(measured))
    return new


def _configured_value(config: RunConfig, name: str) -> Any:
    content = config.model_dump(mode="json")
    return next((section[name] for section in content.values() if isinstance(section, dict) and name in section), None)

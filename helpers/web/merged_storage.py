"""Several studies, each in a store of its own, read as one storage of Optuna; nothing is ever written.

Optuna's dashboard serves one storage, and `optuna_results` holds a database per study. Studies are numbered as they are met;
the numbers of trials are made unique by a multiple of `STRIDE` per store.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gazegaussian.errors import ConfigError, UserError, first_line
from helpers.optuna_private import FrozenStudy, set_trial_number, study_number, trial_number, with_study_number
from helpers.results.attributes import METRIC
from helpers.storage.location import has_store, study_folders
from helpers.storage.read_only import FAULTS, read_only_store

logger = logging.getLogger(__name__)

METRIC_NAMES = "study:metric_names"  # what `optuna.Study.set_metric_names` writes
STRIDE = 10**9  # more than a store has trials; 9 million stores fit into the integers of JavaScript

Opener = Callable[[], BaseStorage]


def stores_in(folder: Path) -> dict[str, Opener]:
    """Find the stores of a study's folder, or of a folder of studies.

    Args:
        folder: A study's, or one with studies in it.

    Returns:
        How to open each for reading, by a name that stays.
    """
    paths = [folder] if has_store(folder) else study_folders(folder)
    return {path.name: partial(read_only_store, path) for path in paths}


def no_study(folder: Path | str) -> ConfigError:
    """What to raise where there is nothing to show; `place` is a folder or what else holds none."""
    return ConfigError(f"No study in {folder}. Run `study` first, or name a study's folder or a folder of studies.")


class ReadOnlyError(UserError):
    """A write was attempted through a read-only storage."""


class JoinedStorage(BaseStorage):
    """All studies of several stores.

    Args:
        find: Gives the present stores by name; studies that begin later appear, a store that cannot be read is left out
            until it can.
        hidden: User attributes of studies and trials that are bookkeeping and not shown.
    """

    def __init__(self, find: Callable[[], dict[str, Opener]], hidden: Sequence[str] = ()) -> None:
        self._find = find
        self._hidden = frozenset(hidden)
        self._names: list[str] = []  # the position of a store gives the numbers of its trials
        self._stores: dict[str, BaseStorage] = {}
        self._studies: list[
            tuple[int, int]
        ] = []  # position of the store and number there; the own position is the number
        self._lock = threading.Lock()

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies that can be read now; those of one name are told apart by their stores."""
        studies: list[FrozenStudy] = []
        for position, name in self._present():
            try:
                stored = self._stores[name].get_all_studies()
            except (UserError, *FAULTS, KeyError) as error:
                logger.warning("%s is left out: %s", name, first_line(error))
                continue
            for study in stored:
                own = with_study_number(copy.copy(study), self._number(position, study_number(study)))
                own.user_attrs = self._shown(study.user_attrs)
                own.system_attrs = _with_metrics(study.system_attrs, study.user_attrs)
                if any(other.study_name == own.study_name for other in studies):
                    own.study_name = f"{own.study_name} ({name})"
                studies.append(own)
        return studies

    def get_study_id_from_name(self, study_name: str) -> int:
        """Number of a study among all."""
        for study in self.get_all_studies():
            if study.study_name == study_name:
                return study_number(study)
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Name of a study among all."""
        for study in self.get_all_studies():
            if study_number(study) == study_id:
                return study.study_name
        raise KeyError(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Directions of its objectives."""
        store, number, _ = self._study(study_id)
        return store.get_study_directions(number)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Its user attributes that are shown."""
        store, number, _ = self._study(study_id)
        return self._shown(store.get_study_user_attrs(number))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Its system attributes, the names of its objectives among them."""
        store, number, _ = self._study(study_id)
        return _with_metrics(store.get_study_system_attrs(number), store.get_study_user_attrs(number))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Trials of a study."""
        store, number, position = self._study(study_id)
        trials = store.get_all_trials(number, deepcopy=deepcopy, states=states)
        return [self._renumbered(trial, position) for trial in trials]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial, by its number among all of all stores."""
        position, number = divmod(trial_id, STRIDE)
        return self._renumbered(self._store(position).get_trial(number), position)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """System attributes of a trial, artifacts among them."""
        position, number = divmod(trial_id, STRIDE)
        return self._store(position).get_trial_system_attrs(number)

    def _renumbered(self, trial: FrozenTrial, position: int) -> FrozenTrial:
        own = copy.copy(trial)  # some stores give out their own objects
        set_trial_number(own, position * STRIDE + trial_number(trial))
        own.user_attrs = self._shown(trial.user_attrs)
        return own

    def _shown(self, attributes: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in attributes.items() if name not in self._hidden}

    def _number(self, position: int, own: int) -> int:
        """Number of a study among all, from 1; new ones come last."""
        with self._lock:
            if (position, own) not in self._studies:
                self._studies.append((position, own))
            return self._studies.index((position, own)) + 1

    def _study(self, study_id: int) -> tuple[BaseStorage, int, int]:
        """Store of a study, its number there and the position of the store.

        Raises:
            KeyError: There is no such study.
        """
        if not 1 <= study_id <= len(self._studies):
            raise KeyError(study_id)
        position, own = self._studies[study_id - 1]
        return self._store(position), own, position

    def _store(self, position: int) -> BaseStorage:
        if not 0 <= position < len(self._names):
            raise KeyError(position)
        return self._stores[self._names[position]]

    def _present(self) -> list[tuple[int, str]]:
        """Open what is new; returns positions and names of the stores that are there."""
        with self._lock:
            present = self._find()
            for name, opener in present.items():
                if name in self._stores:
                    continue
                try:
                    self._stores[name] = opener()
                except (UserError, *FAULTS) as error:  # being written just now, or damaged
                    logger.warning("%s is left out: %s", name, first_line(error))
                    continue
                self._names.append(name)
            return [(position, name) for position, name in enumerate(self._names) if name in present]

    def _reject(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ReadOnlyError("These studies are only read here; change them where they run.")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _reject
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _reject
    set_trial_user_attr = set_trial_system_attr = _reject


def _with_metrics(system: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """Add the names of the objectives as Optuna keeps them, where a study has them as its own attribute."""
    metric = user.get(METRIC)
    return {METRIC_NAMES: [metric] if isinstance(metric, str) else metric, **system} if metric else system

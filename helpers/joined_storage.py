"""Several studies, each in a store of its own, read as one storage of Optuna; nothing is ever written.

Optuna's dashboard serves one storage, and `optuna_results` holds a database per study. Numbers of studies and trials are made
unique by a multiple of `STRIDE` per store.
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
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gazegaussian.errors import UserError
from helpers.running import has_store, read_only_store

logger = logging.getLogger(__name__)

STRIDE = 10**9  # more than a store has trials; 9 million stores fit into the integers of JavaScript

Opener = Callable[[], BaseStorage]


def stores_in(folder: Path) -> dict[str, Opener]:
    """Find the stores of a study's folder, or of a folder of studies.

    Args:
        folder: A study's, or one with studies in it.

    Returns:
        How to open each for reading, by a name that stays.
    """
    places = [folder] if has_store(folder) else sorted(path for path in folder.glob("*/") if has_store(path))
    return {place.name: partial(read_only_store, place) for place in places}


class ReadOnlyError(UserError):
    """Somebody tried to change a study through a storage that only reads."""


class JoinedStorage(BaseStorage):
    """All studies of several stores.

    Args:
        find: Gives the present stores by name; studies that begin later appear, a store that cannot be read is left out
            until it can.
        hidden: User attributes of studies and trials that are bookkeeping and not shown.
    """

    def __init__(self, find: Callable[[], dict[str, Opener]], hidden: Sequence[str] = ()) -> None:
        self._find, self._hidden = find, frozenset(hidden)
        self._names: list[str] = []  # the position of a store gives its numbers
        self._stores: dict[str, BaseStorage] = {}
        self._lock = threading.Lock()

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies that can be read now; those of one name are told apart by their stores."""
        studies: list[FrozenStudy] = []
        for position, name in self._present():
            try:
                found = self._stores[name].get_all_studies()
            except (UserError, SQLAlchemyError, KeyError) as error:
                logger.warning("%s is left out: %s", name, next(iter(str(error).splitlines()), "cannot be read"))
                continue
            for study in found:
                own = copy.copy(study)
                own._study_id = position * STRIDE + study._study_id
                own.user_attrs = self._shown(study.user_attrs)
                if any(other.study_name == own.study_name for other in studies):
                    own.study_name = f"{own.study_name} ({name})"
                studies.append(own)
        return studies

    def get_study_id_from_name(self, study_name: str) -> int:
        """Number of a study among all."""
        for study in self.get_all_studies():
            if study.study_name == study_name:
                return study._study_id
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Name of a study among all."""
        for study in self.get_all_studies():
            if study._study_id == study_id:
                return study.study_name
        raise KeyError(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Directions of its objectives."""
        store, number = self._split(study_id)
        return store.get_study_directions(number)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Its user attributes that are shown."""
        store, number = self._split(study_id)
        return self._shown(store.get_study_user_attrs(number))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Its system attributes."""
        store, number = self._split(study_id)
        return store.get_study_system_attrs(number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial, by its number among all of all stores."""
        store, number = self._split(trial_id)
        return self._renumbered(store.get_trial(number), trial_id - number)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Trials of a study."""
        store, number = self._split(study_id)
        found = store.get_all_trials(number, deepcopy=deepcopy, states=states)
        return [self._renumbered(trial, study_id - number) for trial in found]

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """System attributes of a trial, artifacts among them."""
        store, number = self._split(trial_id)
        return store.get_trial_system_attrs(number)

    def _renumbered(self, trial: FrozenTrial, offset: int) -> FrozenTrial:
        own = copy.copy(trial)  # some stores give out their own objects
        own._trial_id = trial._trial_id + offset
        own.user_attrs = self._shown(trial.user_attrs)
        return own

    def _shown(self, attributes: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in attributes.items() if name not in self._hidden}

    def _split(self, number: int) -> tuple[BaseStorage, int]:
        """Store of a study or trial, and its number there.

        Raises:
            KeyError: There is no such store.
        """
        position, own = divmod(number, STRIDE)
        if not 0 <= position < len(self._names) or self._names[position] not in self._stores:
            raise KeyError(number)
        return self._stores[self._names[position]], own

    def _present(self) -> list[tuple[int, str]]:
        """Open what is new; returns positions and names of the stores that are there."""
        with self._lock:
            present = self._find()
            for name, opener in present.items():
                if name in self._stores:
                    continue
                try:
                    self._stores[name] = opener()
                except (UserError, SQLAlchemyError) as error:  # being written just now, or damaged
                    logger.warning("%s is left out: %s", name, next(iter(str(error).splitlines()), "cannot be read"))
                    continue
                if name not in self._names:
                    self._names.append(name)
            return [(position, name) for position, name in enumerate(self._names) if name in present]

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ReadOnlyError("These studies are only read here; change them where they run.")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse

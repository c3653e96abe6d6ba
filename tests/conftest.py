"""Shared fixtures. Everything runs on two CPU cores without a network."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gazegaussian.models.gaze_gaussian import GazeGaussian
    from gazegaussian.models.mesh_head import MeshHead


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """What a test does to the packages' loggers would decide what later tests of its process can see."""
    packages = [logging.getLogger(name) for name in ("gazegaussian", "helpers")]
    yield
    changed = [one for one in packages if one.level or one.disabled or not one.propagate]
    for one in changed:
        one.setLevel(logging.NOTSET)
        one.disabled, one.propagate = False, True
    assert not changed


@pytest.fixture(autouse=True)
def gradients() -> Iterator[None]:
    """A test that left gradients switched off would fail those after it in its process."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        raise AssertionError("gradients are switched off at the end of this test")


@pytest.fixture(scope="module")
def published_mesh_head() -> MeshHead:
    """A small MeshHead of the variant released; not to be changed."""
    from published_support import small_mesh_head  # torch takes seconds, which most tests of one file need not wait for

    return small_mesh_head()


@pytest.fixture(scope="module")
def published_gaze_gaussian(published_mesh_head: MeshHead) -> GazeGaussian:
    """A small GazeGaussian of the variant released; not to be changed."""
    from published_support import small_gaze_gaussian

    return small_gaze_gaussian(published_mesh_head)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Untrained GazeGaussians."""
    from synthetic_support import untrained_checkpoints

    return untrained_checkpoints(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def stages_for_a_while() -> Iterator[None]:
    """The example's stage may be loaded, from any copy of its file: the next file of tests in this process knows nothing of it."""
    from gazegaussian import stages

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_STAGES", dict(stages._STAGES))
        patch.setattr(stages, "_FOLDERS", [])
        patch.setattr(sys, "path", list(sys.path))
        yield
    sys.modules.pop("digits", None)


@pytest.fixture(params=["sqlite:///{folder}/study.db", "{folder}/study.journal"], ids=["sqlite", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of studies of each kind that is a file."""
    return request.param.format(folder=tmp_path)


@pytest.fixture
def quiet_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for locks are short, and Optuna says little."""
    import optuna

    monkeypatch.setattr("helpers.storage.locks.LOCK_GRACE", 3)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder for test people of data sets that tests have named; processes of tests inherit it."""
    from gazegaussian.data.synthetic.folder import CACHE_VARIABLE

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


# The files that take longest, the longest first (`--durations=0` tells). A process that gets one of them last works alone in the
# end; pytest-xdist must not sort them by their number of tests (`--no-loadscope-reorder`).
LONGEST = (
    "test_notebooks.py",
    "test_cuda_stand_in.py",
    "test_cli.py",
    "test_own_stage.py",
    "test_contributing.py",
    "test_packaging.py",
    "test_device_cost.py",
    "test_jupyterlab.py",
    "test_ray.py",
    "test_signals.py",
    "test_monitor.py",
    "test_postgres.py",
    "test_mutated_inputs.py",
    "test_dashboard.py",
    "test_automatic_workers.py",
    "test_workers.py",
    "test_isolation.py",
    "test_documentation.py",
    "test_calibration.py",
    "test_rendering_cuda.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))

"""Studies on a Ray cluster: a small one on this machine, one of whose actors is killed."""

import os
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from repository import ROOT
from study_support import run_study, spec
from worker_support import FAIL, NONE, check_nothing_lost_or_doubled, die, epochs, noted

from gazegaussian.errors import ConfigError
from helpers import WorkerPool
from helpers.results.attributes import OWNER
from helpers.study.workers.ray_pool import RayBackend, connect, placement


def on_ray(tmp_path, train=noted, pool=WorkerPool(ray="local"), **changes):  # noqa: B008  frozen
    return replace(spec(tmp_path, train, **{**NONE, **changes}), pool=pool)


def test_a_killed_actor_is_replaced_and_its_trial_goes_on_once(tmp_path, monkeypatch, caplog):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    here = {"num_cpus": 2, "object_store_memory": 80_000_000, "_node_ip_address": "127.0.0.1"}
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}}
    ray.init(**here, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    try:
        study = run_study(on_ray(tmp_path, partial(noted, act=die, seconds=0.3), trials=4))
    finally:
        ray.shutdown()
    check_nothing_lost_or_doubled(study, 4)
    assert [trial.state for trial in study.trials].count(FAIL) == 1
    assert len(epochs(tmp_path)) == 4 * 8, "no epoch was trained twice"
    assert "its actor ended" in caplog.text
    assert {trial.user_attrs[OWNER]["worker"].split("-")[0] for trial in study.trials} <= {"w1", "w2", "w3"}
    assert study.user_attrs["stop_reason"] == "all 4 trials are finished"


def test_a_removed_machine_costs_an_epoch_of_its_trial(tmp_path, monkeypatch, caplog):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    second = cluster.add_node(**node)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    ray.init(cluster.address, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False)

    def remove_when_both_train():
        while len({process for process, *_ in epochs(tmp_path)}) < 2:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=remove_when_both_train, daemon=True)
    thread.start()
    try:
        asked = on_ray(tmp_path, partial(noted, seconds=0.3), WorkerPool(2, "auto"), trials=3)
        study = run_study(replace(asked, storage=str(tmp_path / "study.journal")))
    finally:
        ray.shutdown()
        cluster.shutdown()
    thread.join()
    check_nothing_lost_or_doubled(study, 3)
    assert [trial.state for trial in study.trials].count(FAIL) == 1, "it took one trial along"
    assert len(epochs(tmp_path)) <= 3 * 8 + 1, "at most one epoch was trained twice"
    assert "its actor ended" in caplog.text
    assert study.user_attrs["stop_reason"] == "all 3 trials are finished"


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--ray needs Ray, .*pip install -r requirements-cluster\.txt") as error:
        run_study(on_ray(tmp_path))
    assert "\n" not in str(error.value)


def node(gpus, cpus):
    return {"Alive": True, "Resources": {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "pool", "gpus", "threads", "size"),
    [
        ([node(0, 4)], WorkerPool(ray="local"), 0, 1, 4),
        ([node(0, 4)], WorkerPool(2, "local"), 0, 1, 2),
        ([node(0, 4), node(4, 32), node(8, 128)], WorkerPool(ray="auto"), 1, 8, 12),
        ([node(4, 32)], WorkerPool(ray="auto", gpus_per_trial=0.5), 0.5, 4, 8),
        ([node(4, 32)], WorkerPool(ray="auto", gpus_per_trial=2), 2, 16, 2),
        ([node(2, 2)], WorkerPool(6, "auto"), 1, 1, 6),
    ],
)
def test_actors_are_as_many_as_there_is_room_for(nodes, pool, gpus, threads, size):
    assert placement(nodes, pool) == ({"num_gpus": gpus, "num_cpus": threads}, size)


def test_a_cluster_without_room_says_what_it_has():
    with pytest.raises(ConfigError, match=r"has 1 GPUs and 8 CPUs, and a trial asks for 2 GPUs"):
        placement([node(1, 8)], WorkerPool(ray="auto", gpus_per_trial=2))


def test_several_machines_need_a_storage_that_all_reach(tmp_path, monkeypatch):
    stand_in = SimpleNamespace(nodes=lambda: [node(1, 8), node(1, 8)])
    monkeypatch.setattr("helpers.study.workers.ray_pool.connect", lambda address: stand_in)
    with pytest.raises(ConfigError, match=r"2 machines cannot share an SQLite file: give --storage postgresql"):
        RayBackend(on_ray(tmp_path), WorkerPool(ray="auto"))
    assert RayBackend(replace(on_ray(tmp_path), storage="postgresql://u@h/d"), WorkerPool(ray="auto")).size == 2


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:9"])
def test_no_cluster_is_told_in_one_line(address):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=rf"No Ray cluster at '{address}'") as error:
        connect(address)
    assert "\n" not in str(error.value)


def test_without_a_cluster_no_study_is_begun(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="No Ray cluster"):
        run_study(on_ray(tmp_path, pool=WorkerPool(ray="127.0.0.1:9")))
    assert not list(tmp_path.iterdir())


def test_a_share_of_a_gpu_needs_ray():
    with pytest.raises(ConfigError, match=r"--gpus-per-trial 0\.5 needs --ray"):
        WorkerPool(2, gpus_per_trial=0.5)


def test_a_local_cluster_keeps_its_folder_to_its_owner(monkeypatch, tmp_path):
    """Sockets and logs of a session lie in it; /tmp/ray, Ray's own, can be read by every user."""
    asked = []
    stand_in = SimpleNamespace(is_initialized=lambda: False, init=lambda **options: asked.append(options))
    monkeypatch.setattr("helpers.study.workers.ray_pool.import_ray", lambda: stand_in)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    connect("local")
    folder = Path(asked[0]["_temp_dir"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert asked[0]["_node_ip_address"] == "127.0.0.1"
    folder.rmdir()

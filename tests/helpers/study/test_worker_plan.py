"""How many trials run side by side: cores, quotas, threads of the user's, trials, budget, memory; and who may not be copied."""

import os
from dataclasses import replace
from functools import partial

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from study_support import fake_train, run_study, spec

from gazegaussian.config import with_parameters
from gazegaussian.errors import ConfigError
from gazegaussian.utils import cores as cores_module
from helpers import WorkerPool, default_spec
from helpers.study.workers import plan as worker_plan
from helpers.study.workers.plan import (
    GB,
    WORKER_MEMORY,
    WorkerPlan,
    memory_needed,
    not_portable,
    plan_workers,
)
from helpers.study.workers.threads import THREAD_VARIABLES, chosen_threads
from helpers.utils import processes as resources

PLENTY = int(64e9)


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be on another machine, without threads that somebody chose."""

    def pretend(cores=2, memory=PLENTY, peak=0.5e9, **variables):
        for name in THREAD_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(cores_module, "available_cores", lambda: cores)
        monkeypatch.setattr(resources, "available_memory", lambda: memory)
        monkeypatch.setattr(worker_plan, "peak_of_this_process", lambda: peak)

    return pretend


def plan(tmp_path, workers=None, train=fake_train, threads=None, study=None, **changes):
    asked = spec(tmp_path, train, **changes)
    config = with_parameters(asked.config, {"device": "cpu", **({} if threads is None else {"threads": threads})})
    asked = replace(asked, config=config, pool=WorkerPool(workers))
    return plan_workers(asked, study or optuna.create_study(directions=asked.study.directions))


def numbers(chosen):
    return chosen.workers, chosen.threads


def test_a_trial_per_core_with_one_thread_and_a_line_that_says_so(tmp_path, machine):
    machine(cores=2)
    chosen = plan(tmp_path)
    assert chosen == WorkerPlan(2, 1, True, "2 trials side by side, one thread each; --workers 1 trains one at a time")
    machine(cores=1)
    assert plan(tmp_path) == WorkerPlan(1, 1)
    machine(cores=16)
    assert numbers(plan(tmp_path, trials=8)) == (8, 2), "cores that trials do not need go to the trials"


@pytest.mark.parametrize(
    ("variables", "threads", "wanted"),
    [
        ({"OMP_NUM_THREADS": "1"}, None, (4, 1)),
        ({"OMP_NUM_THREADS": "2"}, None, (2, 2)),
        ({"MKL_NUM_THREADS": "2"}, None, (2, 2)),
        ({"OMP_NUM_THREADS": "3,1"}, None, (1, 3)),
        ({"OMP_NUM_THREADS": "8"}, None, (1, 8)),
        ({"OMP_NUM_THREADS": "many"}, None, (4, 1)),
        ({"OMP_NUM_THREADS": "0"}, None, (4, 1)),
        ({"OMP_NUM_THREADS": "1"}, 2, (2, 2)),
        ({}, 4, (1, 4)),
    ],
)
def test_threads_of_the_users_count_per_worker(tmp_path, machine, variables, threads, wanted):
    machine(cores=4, **variables)
    assert numbers(plan(tmp_path, threads=threads)) == wanted


def test_the_number_that_was_asked_for_is_kept(tmp_path, machine):
    machine(cores=2, memory=0)
    assert plan(tmp_path, workers=1) == WorkerPlan(1)
    assert plan(tmp_path, workers=5) == WorkerPlan(5)
    machine(cores=2, OMP_NUM_THREADS="3")
    assert numbers(plan(tmp_path, workers=5)) == (5, 3)
    assert plan_workers(spec(tmp_path), optuna.create_study()) == WorkerPlan(1), "a request without a crew"


def test_no_more_workers_than_trials_are_left(tmp_path, machine):
    machine(cores=4)
    study = run_study(spec(tmp_path, trials=5))
    assert numbers(plan(tmp_path, study=study, trials=8)) == (3, 1)
    study.ask()  # at work elsewhere
    assert numbers(plan(tmp_path, study=study, trials=8)) == (2, 1)
    assert plan(tmp_path, study=study, trials=7).line is None


@pytest.mark.parametrize(("limit", "workers"), [(40, 4), (39, 4), (31, 3), (17, 2), (15, 1), (3, 1)])
def test_no_more_workers_than_the_budget_lets_finish(tmp_path, machine, limit, workers):
    """Trials have 8 epochs here: two with 5 each would teach nothing."""
    machine(cores=4)
    assert plan(tmp_path, trials=8, budget={"max_total_epochs": limit}).workers == workers


@given(
    cores=st.integers(1, 64),
    memory=st.integers(0, int(100e9)),
    trials=st.integers(1, 100),
    seen=st.none() | st.floats(0.1e9, 10e9),
)
def test_cores_memory_and_trials_are_never_overdrawn(tmp_path_factory, cores, memory, trials, seen):
    study = optuna.create_study()
    if seen is not None:
        study.set_user_attr(WORKER_MEMORY, seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.delenv("MKL_NUM_THREADS", raising=False)
        patch.setattr(cores_module, "available_cores", lambda: cores)
        patch.setattr(resources, "available_memory", lambda: memory)
        chosen = plan(tmp_path_factory.getbasetemp(), study=study, trials=trials)
        need = memory_needed(study)
    assert 1 <= chosen.workers <= trials
    assert chosen.workers * chosen.threads <= cores
    assert chosen.workers == 1 or chosen.workers * need + worker_plan.MEMORY_RESERVE <= memory
    room = int(max(0, memory - worker_plan.MEMORY_RESERVE) // need)
    assert chosen.workers == max(1, min(trials, cores // chosen.threads, room)), "a place stayed empty"


def test_short_memory_is_said(tmp_path, machine):
    machine(cores=4, memory=int(2.5e9), peak=1.1e9)
    chosen = plan(tmp_path)
    assert numbers(chosen) == (2, 1)
    assert chosen.line.endswith("one at a time (2.5 GB of memory are free, a trial needs about 1.1 GB)")
    machine(cores=4, memory=int(1.2e9), peak=1.1e9)
    chosen = plan(tmp_path)
    assert chosen == WorkerPlan(
        1, 1, False, "one trial at a time: 1.2 GB of memory are free, a trial needs about 1.1 GB"
    )


def test_what_workers_were_seen_to_need_counts_before_what_this_process_took(machine):
    machine(peak=3 * GB)
    study = optuna.create_study()
    assert memory_needed(study) == 3 * GB
    study.set_user_attr(WORKER_MEMORY, 0.7 * GB)
    assert memory_needed(study) == 0.7 * GB


def test_what_cannot_be_sent_to_other_processes_is_trained_here(tmp_path, machine):
    machine(cores=4)

    def local(config, run_dir, hooks, resume):
        return fake_train(config, run_dir, hooks, resume)

    chosen = plan(tmp_path, train=local)
    assert numbers(chosen) == (1, 1)
    assert "define them in a module" in chosen.line
    assert not_portable(spec(tmp_path, partial(fake_train, seconds=1.0))) is None
    named = replace(spec(tmp_path), trial_name=lambda number, parameters: f"run{number}")
    assert "cannot be sent" in not_portable(named)


def test_on_cuda_a_study_stays_in_one_process_unless_workers_are_asked_for(tmp_path, machine, monkeypatch):
    machine(cores=8, OMP_NUM_THREADS="1")
    monkeypatch.setattr(worker_plan, "resolve_device", lambda device: torch.device("cuda"))
    assert plan(tmp_path) == WorkerPlan(1)
    assert plan(tmp_path, workers=2) == WorkerPlan(2)


def test_a_study_of_files_asks_for_workers_by_itself(tmp_path):
    assert default_spec("meshhead", out=tmp_path).pool == WorkerPool()
    assert default_spec("meshhead", out=tmp_path, pool=WorkerPool(1)).pool == WorkerPool(1)
    with pytest.raises(ConfigError, match="--gpus-per-trial"):
        WorkerPool(gpus_per_trial=0.5)


def test_trials_in_this_process_get_the_threads_of_the_plan(tmp_path, machine):
    machine(cores=2, memory=0)
    before = torch.get_num_threads()
    seen = []

    def look(config, run_dir, hooks, resume):
        seen.append(torch.get_num_threads())
        return fake_train(config, run_dir, hooks, resume)

    torch.set_num_threads(2)
    try:
        run_study(replace(spec(tmp_path, look, trials=2), pool=WorkerPool()))
        run_study(replace(spec(tmp_path, look, trials=3), pool=WorkerPool(1)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 2]


# --- what a container, Slurm or systemd leaves -------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write files of control groups; `membership` is /proc/self/cgroup."""

    def write(membership, files, cores=8, available=PLENTY):
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "membership").write_text(membership)
        monkeypatch.setattr(cores_module, "CGROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(cores_module, "MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(cores_module, "_process_cores", lambda: cores)
        memory = type("Memory", (), {"available": available})
        monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: memory)

    return write


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/outside/name\n", {"cpu.max": "200000 100000\n"}, 2),
        ("4:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 8),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("0::/\n", {"cpu.max": "nonsense\n"}, 8),
        ("", {}, 8),
    ],
)  # fmt: skip
def test_cpu_quotas_of_control_groups_count(groups, membership, files, cores):
    groups(membership, files)
    assert cores_module.available_cores() == cores


@pytest.mark.parametrize(
    ("membership", "files", "left"),
    [
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5000\n"}, PLENTY),
        ("0::/\n", {"memory.max": "4000\n", "memory.current": "1500\n"}, 2500),
        ("0::/\n", {"memory.max": "4000\n", "memory.high": "3000\n", "memory.current": "1500\n"}, 1500),
        (
            "0::/\n",
            {"memory.max": "4000\n", "memory.current": "3900\n", "memory.stat": "anon 900\ninactive_file 2000\nactive_file 500\n"},
            2600,
        ),
        ("0::/a/b\n", {"a/memory.max": "9000", "a/memory.current": "8000", "a/b/memory.max": "max", "a/b/memory.current": "1"}, 1000),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "7000", "memory/x/memory.usage_in_bytes": "6000",
                           "memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n"}, 1300),
        ("0::/\n", {"memory.max": "4000\n", "memory.current": "5000\n"}, 0),
    ],
)  # fmt: skip
def test_memory_limits_of_control_groups_count(groups, membership, files, left):
    groups(membership, files)
    assert resources.available_memory() == left


def test_without_control_groups_affinity_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(cores_module, "MEMBERSHIP", tmp_path / "missing")
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert cores_module.available_cores() == 3
    monkeypatch.setattr(os, "process_cpu_count", None, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert cores_module.available_cores() == 2


def test_an_empty_setting_is_no_choice(machine, tmp_path):
    machine(OMP_NUM_THREADS="")
    assert chosen_threads(spec(tmp_path).config) is None

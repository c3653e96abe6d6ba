"""The CUDA path without a GPU: what is marked `cuda`, and the command line, on the stand-in device (`cuda_stand_in`)."""

from __future__ import annotations

import json
import re

import optuna
import pytest
import torch
from cuda_stand_in.run import run_on_stand_in
from repository import ROOT

from benchmarks.acceptance.workplace import small_data, small_files
from helpers.results.attributes import HARDWARE

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")

RULES = """
import warnings
import pytest, torch
from cuda_stand_in.record import RECORD

there = torch.ones(3, device="cuda")
here = torch.ones(3)
for mixed in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there.long()], lambda: there.mm(here)):
    with pytest.raises(RuntimeError, match="device"):
        mixed()
with pytest.raises(TypeError, match="numpy"):
    there.numpy()
assert (there + torch.tensor(1.0)).device.type == "cuda"  # a number


def waits(call):
    RECORD.reset()
    call()
    return sorted(kind for kind, _ in RECORD.waits.elements())


assert waits(lambda: there * 2) == []
assert waits(lambda: torch.tensor([1.0, 2.0], device="cuda")) == ["copy to the device"]
assert waits(lambda: here.to("cuda")) == ["copy to the device"]
assert waits(lambda: here.to("cuda", non_blocking=True)) == []
assert waits(lambda: there.cpu()) == ["copy to the host"]
assert waits(lambda: there.sum().item()) == ["_local_scalar_dense"]
assert waits(lambda: there[there > 0]) == ["index by a mask"]
assert waits(lambda: there[[0, 1]]) == ["copy to the device"] or waits(lambda: there[[0, 1]]) == ["index from the CPU"]
assert waits(lambda: there.nonzero()) == ["nonzero"]
assert waits(there.tolist) == ["tolist"]
torch.cuda.set_sync_debug_mode("warn")
with pytest.warns(UserWarning, match="synchronizing"):
    there.sum().item()
torch.cuda.set_sync_debug_mode("default")

held = torch.cuda.memory_allocated()
ballast = torch.empty(1 << 20, device="cuda")
assert torch.cuda.memory_allocated() == held + (4 << 20)
del ballast
assert torch.cuda.memory_allocated() == held
with pytest.raises(torch.OutOfMemoryError):
    torch.empty(1 << 34, device="cuda")
"""


def test_the_stand_in_refuses_and_counts_what_a_gpu_would(tmp_path):
    (tmp_path / "rules.py").write_text(RULES, encoding="utf-8")
    done = run_on_stand_in([tmp_path / "rules.py"])
    assert done.returncode == 0, done.stderr


def test_what_needs_a_gpu_passes_on_the_stand_in():
    """Steps, validation, previews of both stages and variants in three precisions, host waits, renderers: see the files."""
    files = [
        "tests/integration/test_cuda_steps.py",
        "tests/integration/test_rendering_cuda.py",
        "tests/gazegaussian/training/test_device_step.py",
    ]
    done = run_on_stand_in(["-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "-p", "no:xdist", *files])
    assert done.returncode == 0, done.stdout[-8000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 30, done.stdout


# Every command in one process: torch is loaded once. Trainings and audits start their own, as on any GPU.
COMMANDS = """
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])


def main():
    import train_gazegaussian_optuna as script

    for args in json.loads(Path(sys.argv[2]).read_text()):
        sys.argv = ["train_gazegaussian_optuna.py", *args]
        try:
            code = script.main()
        except SystemExit as end:
            code = end.code
        print("DONE", args[0], args[1], code or 0, flush=True)
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda")
    small_data(folder)
    small_files(folder, epochs=1)
    (folder / "commands.py").write_text(COMMANDS, encoding="utf-8")
    return folder


def test_every_command_works_on_cuda(workplace):
    usual = ["--data", "data", "--device", "cuda"]
    mesh = ["--config", "mesh.yaml", "--study", "mesh_study.yaml", *usual, "--out", "out"]
    gaze = ["--config", "gaze.yaml", "--study", "gaze_study.yaml", *usual, "--out", "out"]
    best = "out/gaze/trial_0000/best.pt"
    commands = [
        ["estimate", "meshhead", *mesh],
        ["audit", "meshhead", *mesh],
        ["study", "meshhead", *mesh],
        ["estimate", "gazegaussian", *gaze],
        ["study", "gazegaussian", *gaze, "--n-trials", "1"],
        ["train", "meshhead", "--config", "mesh.yaml", *usual, "--out", "trained"],
        ["evaluate", best, *usual, "--pairs", "2", "--out", "evaluation"],
        ["redirect", best, *usual, "--subject", "subject0000", "--pitch", "5", "--yaw", "9", "--out", "redirected.png"],
    ]
    (workplace / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    done = run_on_stand_in([workplace / "commands.py", ROOT, workplace / "commands.json"], cwd=workplace)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-5000:])
    assert done.stdout.count("DONE") == len(commands)
    assert "GPU memory" in done.stdout  # of the estimate
    storage = f"sqlite:///{workplace}/out/mesh/study.db"
    trials = optuna.load_study(study_name="mesh", storage=storage).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert {trial.user_attrs[HARDWARE]["precision"] for trial in trials} == {"fp16"}

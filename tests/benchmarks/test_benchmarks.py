"""The benchmarks at tiny sizes: they run, and what they compare computes the same."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage, mesh_stage

from benchmarks.acceptance.__main__ import Phase, phases
from benchmarks.acceptance.__main__ import run as run_phase
from benchmarks.rendering import rasterizers, training_steps
from benchmarks.rendering.naive import gaze_gaussian_terms, mesh_head_terms, whole_grid_mesh
from benchmarks.study import busy_machine, soak


def rows(capsys):
    result = json.loads(capsys.readouterr().out)
    assert result["machine"]
    return result["rows"]


def test_rasterizers(capsys, monkeypatch):
    monkeypatch.setattr(rasterizers, "SPLAT_CASES", [(1, 50, 16, 3)])
    monkeypatch.setattr(rasterizers, "MESH_CASES", [(1, 100, 16)])
    rasterizers.main(["--repeats", "1", "--json", "--threads", "1"])
    splats, meshes = rows(capsys)
    assert min(splats["warp"], splats["torch"], meshes["warp"], meshes["torch"]) > 0
    assert 0 < splats["torch off"] < 1e-3


def test_a_rasterizer_that_is_far_from_warp_is_an_error():
    image = torch.ones(4)
    assert rasterizers.distances({"warp": lambda: [image], "torch": lambda: [image * 1.001]})["torch off"] < 2e-3
    for wrong in (image * 1.1, image * torch.nan):
        with pytest.raises(RuntimeError, match=r"gsplat is .* from warp"):
            rasterizers.distances({"warp": lambda: [image, image], "gsplat": lambda wrong=wrong: [wrong, image]})


def test_training_steps(capsys, monkeypatch):
    mesh = mesh_stage()
    gaze = gaze_stage()
    mesh.prepare()
    monkeypatch.setattr(training_steps, "stages", lambda *_, **__: (mesh, gaze))
    monkeypatch.setattr(training_steps, "DIT_SIZES", [(4, 1)])
    training_steps.main(["--repeats", "1", "--batches", "2", "--threads", "1"])
    text = capsys.readouterr().out
    for text_part in (
        "neutral mesh",
        "training step, meshhead, 64 px",
        "training step, gazegaussian",
        "FPS",
        "DiT renderer",
    ):
        assert text_part in text


def test_the_naive_gazegaussian_step_has_the_same_losses():
    stage = gaze_stage(gaze_run(eye_region_importance=0.0))
    expected = stage.losses(batch(2), 0)
    naive = gaze_gaussian_terms(stage, batch(2), 0)
    assert list(naive) == list(expected)
    for name, value in expected.items():
        assert naive[name].item() == pytest.approx(value.item(), abs=2e-6, rel=1e-4), name


def test_the_naive_meshhead_step_has_the_same_losses_and_gradients():
    stage = mesh_stage()
    stage.prepare()
    gradients = []
    for terms in (stage.losses(batch(1), 0), mesh_head_terms(stage, batch(1), 0)):
        total = torch.stack(list(terms.values())).sum()
        gradients.append([total.detach(), *torch.autograd.grad(total, list(stage.module.geometry.parameters()))])
    for ours, naive in zip(*gradients, strict=True):
        assert (ours - naive).abs().max() <= 1e-3 * ours.abs().max()
    assert stage.module.neutral_mesh().faces.equal(whole_grid_mesh(stage.module).faces)


COUNT = "import pathlib, sys; f = pathlib.Path(sys.argv[1]) / 'a'; f.write_text('x'); print(sum(range(10**6)))"


def test_busy_machine_runs_a_command_alone_and_beside_loops(capsys):
    busy_machine.main(["--busy", "1", "--json", "--", sys.executable, "-c", COUNT, "{out}"])
    result = json.loads(capsys.readouterr().out)
    assert result["ratio"] == pytest.approx(result["beside"]["wall_seconds"] / result["alone"]["wall_seconds"])
    assert min(result["alone"]["cpu_seconds"], result["beside"]["cpu_seconds"]) > 0
    with pytest.raises(SystemExit, match="exit code 3 of"):
        busy_machine.main(["--busy", "1", "--", sys.executable, "-c", "raise SystemExit(3)"])
    assert not [child for child in psutil.Process().children() if is_loop(child)]


def is_loop(process):
    try:
        return busy_machine.BUSY_LOOP in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_busy_loops_end_with_the_benchmark(repo_root, number):
    args = [sys.executable, "-m", "benchmarks.study.busy_machine", "--", sys.executable, "-c"]
    wait = "import time; time.sleep(600)"
    # Alone the command ends at once, beside loops it waits: the file in the folder of both tells which.
    code = f"import pathlib; p = pathlib.Path('ran'); there = p.exists(); p.touch()\nif there:\n    {wait}"
    benchmark = psutil.Popen([*args, code], cwd=repo_root, stderr=subprocess.DEVNULL)
    loops = []
    while len(loops) < 2:
        assert benchmark.poll() is None
        loops = [child for child in benchmark.children() if is_loop(child)]
    waiting = [child for child in benchmark.children() if child not in loops]
    benchmark.send_signal(number)
    benchmark.wait(60)
    _, alive = psutil.wait_procs(loops, 60)
    assert not alive
    for child in waiting:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_busy_machine_studies_are_those_of_make_study(tmp_path, repo_root):
    quick = busy_machine.study_commands(True, tmp_path)
    made = [
        line.split()[1:] for line in (repo_root / "Makefile").read_text().splitlines() if line.startswith("\t$(RUN) ")
    ]
    assert [args[2:4] for args in quick] == made
    assert os.listdir(tmp_path) == []


def test_the_soak_tells_growth_where_enough_trials_were_seen():
    numbers = list(range(soak.WARM_UP + soak.BLOCKS + 1))
    whole = soak.Memory(numbers, [100 + 0.02 * number + 0.001 * (number % 2) for number in numbers])
    assert whole.growth().startswith("growth after trial 100: 2.00 MB per 100 trials (95% interval ")
    for fewer in (0, 50, len(numbers) - 1):
        assert "not measured" in soak.Memory(numbers[:fewer], whole.megabytes[:fewer]).growth()


def test_the_acceptance_command_fits_into_its_limit_and_survives_its_phases(tmp_path):
    assert sum(phase.seconds for phase in phases(tmp_path, stand_in=False)) <= 25 * 60
    broken = run_phase(Phase("broken", 20, ["-c", "print('RESULT {\"a\": 1}'); raise SystemExit(3)"]), dict(os.environ))
    assert (broken.verdict, broken.found) == ("failed", [{"a": 1}])
    slow = run_phase(Phase("slow", 1, ["-c", "import time; time.sleep(60)"]), dict(os.environ))
    assert slow.verdict == "out of time"


def test_a_batch_that_does_not_fit_into_memory_is_a_row_without_figures(monkeypatch):
    def refuse(stage, count, *rest):
        if count == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return {"ms": 1.0}

    monkeypatch.setattr(training_steps, "_training_row", refuse)
    one, two, three = training_steps.training_rows(gaze_stage(), [1, 2, 3], 1, "cpu")
    assert (one["ms"], two["ms"], three["ms"]) == (1.0, None, 1.0)
    assert "9 GiB" in two["note"]

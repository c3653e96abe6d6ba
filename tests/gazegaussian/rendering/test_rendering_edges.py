"""Splatting: what must not go wrong at the edges (nothing to draw, not finite, forked, half precision)."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rendering_scenes import FIELDS, KERNELS, make_cameras, make_gaussians, outputs_and_grads, relative_errors

from gazegaussian.errors import UserError
from gazegaussian.rendering import render_splats, warm_up
from gazegaussian.types import Gaussians


def test_cpu_runs_are_bit_identical_and_do_not_depend_on_threads():
    gaussians = make_gaussians(2, 400, 8, torch.float32)
    cameras = make_cameras(2, 48, 48, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append(outputs_and_grads(gaussians, cameras, torch.ones(8), "warp"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        # The background's gradient is one of torch's matrix products, which may split by thread.
        assert all(torch.equal(results[0][k], v) for k, v in other.items() if k != "background")
    assert torch.equal(results[0]["background"], results[3]["background"])


@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
@pytest.mark.parametrize("case", ["none", "transparent", "behind", "outside"])
def test_nothing_to_see_gives_the_background_and_no_gradient(backend, case):
    gaussians = make_gaussians(2, 0 if case == "none" else 20, 3, torch.float32)
    cameras = make_cameras(2, 9, 7)
    if case == "transparent":
        gaussians = replace(gaussians, opacities=torch.zeros(2, 20))
    elif case == "behind":
        gaussians = replace(gaussians, means=gaussians.means - torch.tensor([0.0, 0.0, 20.0]))
    elif case == "outside":
        gaussians = replace(gaussians, means=gaussians.means + torch.tensor([50.0, 0.0, 0.0]))
    background = torch.tensor([0.1, -2.0, 3.0])
    got = outputs_and_grads(gaussians, cameras, background, backend)
    assert torch.equal(got["image"], background[None, :, None, None].expand(2, 3, 7, 9))
    assert not got["alpha"].any()
    assert all(not got[n].any() for n in FIELDS)
    assert got["background"].abs().min() > 0


@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_splats_that_are_not_finite_are_left_out(backend, bad):
    gaussians = make_gaussians(2, 80, 3, torch.float32)
    cameras = make_cameras(2, 16, 16, torch.float32)
    spoilt = {n: getattr(gaussians, n).clone() for n in FIELDS}
    spoilt["means"][:, 20:23, 0] = bad
    spoilt["means"][:, 23, 2] = bad if bad != 3e38 else math.nan  # a point as far as that is seen all the same
    spoilt["scales"][:, 24] = bad
    spoilt["quats"][:, 25, 1] = bad if bad != 3e38 else 0.0  # a long quaternion is a rotation all the same
    spoilt["opacities"][:, 26] = bad if bad != 3e38 else math.nan
    spoilt["quats"][:, 27] = 0.0
    rows = torch.ones(80, dtype=torch.bool)
    rows[20:28] = False
    if bad == 3e38:
        rows[25] = True
    kept = Gaussians(*(spoilt[n][:, rows] for n in FIELDS))
    expected = outputs_and_grads(kept, cameras, torch.ones(3), backend)
    got = outputs_and_grads(Gaussians(**spoilt), cameras, torch.ones(3), backend)
    torch.testing.assert_close(got["image"], expected["image"], rtol=0, atol=1e-6)
    for name in FIELDS:
        assert not got[name][:, ~rows].any(), name
        torch.testing.assert_close(got[name][:, rows], expected[name], rtol=1e-4, atol=1e-5)


def test_padding_with_transparent_splats_changes_nothing():
    gaussians = make_gaussians(2, 60, 3, torch.float32)
    cameras = make_cameras(2, 16, 16, torch.float32)
    padded = Gaussians(
        *(
            torch.nn.functional.pad(getattr(gaussians, n), (0, 0, 0, 40) if n != "opacities" else (0, 40))
            for n in FIELDS
        )
    )
    expected = outputs_and_grads(gaussians, cameras, torch.ones(3), "warp")
    got = outputs_and_grads(padded, cameras, torch.ones(3), "warp")
    assert torch.equal(got["image"], expected["image"])
    assert all(torch.equal(got[n][:, :60], expected[n]) and not got[n][:, 60:].any() for n in FIELDS)


@pytest.mark.parametrize("backend", [*KERNELS, "torch"])
def test_batch_rows_are_independent(backend):
    gaussians = make_gaussians(3, 60, 3, torch.float32)
    cameras = make_cameras(3, 20, 12, torch.float32)
    together = render_splats(gaussians, cameras, torch.ones(3), backend)
    for row in range(3):
        alone = render_splats(gaussians.rows([row]), cameras.rows([row]), torch.ones(3), backend)
        torch.testing.assert_close(alone.features[0], together.features[row], rtol=0, atol=1e-6)
    assert not torch.allclose(together.features[0], together.features[1])


@pytest.mark.parametrize("channels", [1, 5, 70])
def test_any_number_of_channels(channels):
    gaussians = make_gaussians(1, 50, channels)
    cameras = make_cameras(1, 12, 12)
    expected = outputs_and_grads(gaussians, cameras, torch.ones(channels).double(), "torch")
    single = Gaussians(*(getattr(gaussians, n).float() for n in FIELDS))
    errors = relative_errors(outputs_and_grads(single, cameras, torch.ones(channels), "warp"), expected)
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    half = make_gaussians(2, 60, 3, dtype)
    cameras = make_cameras(2, 16, 16, torch.float32)
    single = Gaussians(*(getattr(half, n).float() for n in FIELDS))
    expected = outputs_and_grads(single, cameras, torch.ones(3), "warp")
    got = outputs_and_grads(half, cameras, torch.ones(3, dtype=dtype), "warp")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = outputs_and_grads(single, cameras, torch.ones(3), "warp")
    assert got["image"].dtype == torch.float32
    assert torch.equal(got["image"], expected["image"])
    assert all(torch.equal(under_autocast[k], expected[k]) for k in expected)
    for name in FIELDS:
        assert got[name].dtype == dtype
        torch.testing.assert_close(got[name], expected[name].to(dtype), rtol=0, atol=0)


def _render_in_child(gaussians, cameras, queue) -> None:
    # Two threads for the kernels, one for torch: its own threads may not be used after a fork.
    torch.set_num_threads(1)
    torch.get_num_threads = lambda: 2
    queue.put(outputs_and_grads(gaussians, cameras, torch.ones(3), "warp")["means"].numpy())


def test_works_in_a_forked_process(monkeypatch):
    gaussians = make_gaussians(2, 1500, 3, torch.float32)
    cameras = make_cameras(2, 40, 40, torch.float32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # the parent gets a pool, which does not survive the fork
    expected = outputs_and_grads(gaussians, cameras, torch.ones(3), "warp")["means"]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_render_in_child, args=(gaussians, cameras, queue), daemon=True)
    process.start()
    try:
        assert torch.equal(torch.from_numpy(queue.get(timeout=30)), expected)
    finally:
        process.kill()


def test_gradients_stop_where_none_are_asked_for():
    gaussians = make_gaussians(1, 30, 3, torch.float32)
    cameras = make_cameras(1, 12, 12, torch.float32)
    features = gaussians.features.clone().requires_grad_()
    out = render_splats(replace(gaussians, features=features), cameras, torch.zeros(3))
    out.features.sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    with torch.no_grad():
        assert not render_splats(replace(gaussians, features=features), cameras, torch.zeros(3)).features.requires_grad


def test_wrong_calls_say_what_to_change():
    gaussians = make_gaussians(2, 8, 3, torch.float32)
    cameras = make_cameras(2, 8, 8, torch.float32)
    for backend, word in (("cuda", "auto, warp"), ("gsplat", "gsplat")):
        with pytest.raises(UserError, match=word):
            render_splats(gaussians, cameras, torch.zeros(3), backend)
    with pytest.raises(UserError, match="background"):
        render_splats(gaussians, cameras, torch.zeros(4))
    with pytest.raises(UserError, match="one camera per batch row"):
        render_splats(gaussians, cameras.rows([0]), torch.zeros(3))
    with pytest.raises(UserError, match="max_alpha"):
        render_splats(gaussians, cameras, torch.zeros(3), max_alpha=1.0)
    with pytest.raises(UserError, match="float64"):
        render_splats(make_gaussians(2, 8, 3), cameras, torch.zeros(3), "warp")


def test_warm_up_compiles_what_is_used():
    from gazegaussian.rendering.splat_kernels import band_kernels

    warm_up(channels=(4,))
    hits = band_kernels.cache_info().hits
    band_kernels(4)
    assert band_kernels.cache_info().hits == hits + 1


@pytest.mark.parametrize("chosen", [True, False])
def test_kernel_cache_is_the_users_choice_and_starting_is_quiet(tmp_path, repo_root, chosen):
    environment = {k: v for k, v in os.environ.items() if k not in ("WARP_CACHE_PATH", "XDG_CACHE_HOME")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(repo_root)}
    if chosen:
        environment["WARP_CACHE_PATH"] = str(tmp_path / "mine")
    code = "from gazegaussian.rendering._warp import wp; print(wp.config.kernel_cache_dir)"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    folder = tmp_path / "mine" if chosen else tmp_path / ".cache" / "gazegaussian" / "warp"
    assert run.stdout.strip().startswith(str(folder))
    assert run.stderr == ""


DRAW_HEADS = """
import numpy as np
from gazegaussian.data.synthetic.raster import visible
corners = np.array([[-0.5, -0.5], [9.0, -0.5], [-0.5, 9.0]])
seen = visible(corners, np.ones(3), np.array([[0, 1, 2]], np.int32), np.ones((3, 2), np.float32), 10, 10)
assert len(seen.pixels) == 45
"""
RENDER = """
import torch
from gazegaussian.rendering import warm_up
torch.set_num_threads(1)
warm_up(channels=(3,))
"""


@pytest.mark.parametrize("code", [DRAW_HEADS + RENDER, RENDER + DRAW_HEADS], ids=["data first", "rendering first"])
def test_drawing_says_nothing(repo_root, code):
    # The kernels come from the user's cache: compiling them anew would take minutes.
    environment = os.environ | {"PYTHONPATH": str(repo_root)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_warp_is_started_in_one_place(repo_root):
    sources = [p for folder in ("gazegaussian", "helpers") for p in (repo_root / folder).rglob("*.py")]
    names = [p.name for p in sources if re.search(r"^\s*(import|from) warp\b|wp\.init\(", p.read_text(), re.M)]
    assert names == ["warp_setup.py"]

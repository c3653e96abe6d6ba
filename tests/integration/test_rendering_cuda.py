"""The kernels for CUDA: they compile for the common architectures anywhere; what they compute needs a device."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
import torch
from rendering_scenes import FIELDS, make_cameras, make_gaussians, outputs_and_grads, relative_errors

from gazegaussian import rendering
from gazegaussian.errors import UserError
from gazegaussian.rendering import (
    mesh_interpolation,
    mesh_kernels,
    projection_kernels,
    render_mesh,
    render_splats,
    warm_up,
)
from gazegaussian.rendering._warp import wp
from gazegaussian.rendering.splat_kernels_tiled import BLOCK, tile_kernels
from gazegaussian.types import Gaussians

ON_STAND_IN = torch.cuda.is_available() and "stand-in" in torch.cuda.get_device_name()
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def cuda_modules() -> dict[str, object]:
    """Everything that CUDA launches. Splats: 3 channels (tests, plain colours) and 32 (the model)."""
    modules = {
        "projection": projection_kernels._project.module,
        "visibility": mesh_kernels._visible_faces.module,
        "interpolation": mesh_interpolation._interpolate.module,
    }
    for channels in (3, 32):
        kernels = tile_kernels(channels)
        modules |= {f"forward {channels}": kernels.forward.module, f"backward {channels}": kernels.backward.module}
    return modules


def compiled(module, arch: int, folder: Path, blocks: bool, ptx: bool) -> Path:
    before = module.options["block_dim"]
    if blocks:
        module.options["block_dim"] = BLOCK
    try:
        (path,) = wp.compile_aot_module(module, arch=arch, module_dir=folder, use_ptx=ptx)
    finally:
        module.options["block_dim"] = before
    return path


def test_every_kernel_of_the_renderers_is_compiled_below_or_is_for_the_cpu():
    cpu_only = {"_count_bands", "_fill_bands"}  # CUDA bins in torch
    known = set().union(*({kernel.key for kernel in module.kernels.values()} for module in cuda_modules().values()))
    kernels = {
        value.key
        for module in pkgutil.iter_modules(rendering.__path__, f"{rendering.__name__}.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, wp.Kernel)
    }
    assert kernels - known == cpu_only


@pytest.mark.parametrize("arch", [75, 80, 90])
def test_kernels_compile_for_cuda_without_a_device(tmp_path, arch):
    for name, module in cuda_modules().items():
        binary = compiled(module, arch, tmp_path / name, name.startswith("backward"), ptx=False)
        assert binary.read_bytes().startswith(b"\x7fELF")
        assert f"sm{arch}" in binary.name


@pytest.mark.parametrize("channels", [3, 32])
def test_blocks_add_up_before_they_write(tmp_path, channels):
    text = compiled(tile_kernels(channels).backward.module, 75, tmp_path, blocks=True, ptx=True).read_text()
    assert ".target sm_75" in text
    assert "shfl.sync" in text  # sums in the block, then one atomic per number: the features and 6 of the shape
    assert text.count("atom.") == channels + 6


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize("size", [(26, 22), (130, 70)])
def test_splats_on_cuda_agree_with_the_oracle(channels, size):
    gaussians = make_gaussians(3, 150, channels)
    cameras = make_cameras(3, *size)
    background = torch.linspace(-1, 2, channels)
    expected = outputs_and_grads(gaussians, cameras, background.double(), "torch")
    single = Gaussians(*(getattr(gaussians, n).float().cuda() for n in FIELDS))
    got = outputs_and_grads(single, cameras.to("cuda"), background.cuda(), "auto")
    errors = relative_errors({k: v.cpu() for k, v in got.items()}, expected)
    assert max(errors["image"], errors["alpha"]) <= 1e-5
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.cuda
@needs_cuda
@pytest.mark.skipif(ON_STAND_IN, reason="the stand-in has no streams")
def test_splats_follow_the_current_stream():
    gaussians = make_gaussians(2, 400, 3, torch.float32).to("cuda")
    cameras = make_cameras(2, 64, 64).to("cuda")
    warm_up(device="cuda")
    expected = render_splats(gaussians, cameras, torch.ones(3, device="cuda")).features
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)
        late = Gaussians(*(getattr(gaussians, n) * 1 for n in FIELDS))
        got = render_splats(late, cameras, torch.ones(3, device="cuda")).features
    torch.cuda.synchronize()
    assert torch.equal(got, expected)


@pytest.mark.cuda
@needs_cuda
def test_mesh_on_cuda_agrees_with_the_cpu():
    points = torch.rand(2, 300, 3) - 0.5
    faces = torch.randint(0, 300, (400, 3))
    cameras = make_cameras(2, 60, 40, torch.float32)
    results = []
    for device in ("cpu", "cuda"):
        leaf = points.to(device, copy=True).requires_grad_()
        image = render_mesh(leaf, faces.to(device), points.to(device), cameras.to(device), 0.5)
        (image.attributes.square().sum() + image.silhouette.square().sum()).backward()
        results.append([t.detach().cpu() for t in (image.attributes, image.mask, image.silhouette, leaf.grad)])
    changed = (results[0][1] != results[1][1]).float().mean()
    assert changed <= 1e-3  # a pixel centre on an edge may fall to either side
    for a, b in zip(*results, strict=True):
        assert ((a - b).abs() > 1e-3 * a.abs().max()).float().mean() <= 5e-3


@pytest.mark.cuda
@needs_cuda
def test_gsplat_agrees():
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    gaussians = make_gaussians(2, 300, 3, torch.float32).to("cuda")
    cameras = make_cameras(2, 64, 48).to("cuda")
    background = torch.ones(3, device="cuda")
    ours = outputs_and_grads(gaussians, cameras, background, "warp", max_alpha=0.999)
    theirs = outputs_and_grads(gaussians, cameras, background, "gsplat", max_alpha=0.999)
    assert max(relative_errors(theirs, {k: v.double() for k, v in ours.items()}).values()) <= 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_gsplat_without_cuda_says_so():
    with pytest.raises(UserError, match='choose "warp"'):
        render_splats(
            make_gaussians(1, 5, 3, torch.float32), make_cameras(1, 8, 8, torch.float32), torch.zeros(3), "gsplat"
        )

"""The kernels compile for a GPU, by the compiler that Warp brings along: neither a GPU nor a driver is needed for it."""

from __future__ import annotations

import pytest

from gazegaussian.rendering import mesh_interpolation, mesh_kernels, projection_kernels
from gazegaussian.rendering._warp import wp
from gazegaussian.rendering.splat_kernels_tiled import BLOCK, tile_kernels

T4 = 75  # compute capability 7.5, the oldest that Warp's current builds know


@pytest.mark.skipif(wp.get_cuda_toolkit_version() is None, reason="this build of Warp is without CUDA")
def test_every_kernel_of_a_gpu_compiles_for_the_oldest_one(tmp_path):
    splats = tile_kernels(8)
    splats.backward.module.options["block_dim"] = BLOCK
    modules = {splats.forward.module, splats.backward.module}
    for part in (projection_kernels, mesh_kernels, mesh_interpolation):
        modules |= {value.module for value in vars(part).values() if isinstance(value, wp.Kernel)}
    assert len(modules) == 5
    for module in modules:
        wp.compile_aot_module(module, arch=T4, module_dir=tmp_path, use_ptx=True)
    written = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.ptx")]
    assert len(written) == 5
    for text in written:
        assert f".target sm_{T4}" in text
        assert ".entry" in text

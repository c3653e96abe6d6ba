"""What is refused, and said, before a training starts on a GPU that cannot do it. No GPU is needed."""

from __future__ import annotations

import pytest
import torch
from synthetic_support import mesh_run

from gazegaussian import build
from gazegaussian.errors import DeviceError
from gazegaussian.rendering.gsplat import gsplat_clamp
from gazegaussian.training.hardware import hardware_of
from gazegaussian.utils import warp_setup

CUDA = torch.device("cuda")


@pytest.fixture
def old_gpu(monkeypatch):
    """A GPU that torch sees."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Old GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (3 << 30, 4 << 30))


@pytest.mark.usefixtures("old_gpu")
def test_a_driver_that_is_too_old_for_the_renderers_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(warp_setup.wp, "get_cuda_device_count", lambda: 0)
    monkeypatch.setattr(warp_setup.wp, "get_cuda_toolkit_version", lambda: (13, 0))
    monkeypatch.setattr(warp_setup.wp, "get_cuda_driver_version", lambda: (12, 4))
    monkeypatch.setattr(warp_setup, "driver_version", lambda: "550.54.15")
    with pytest.raises(DeviceError) as error:
        warp_setup.require_device(CUDA)
    for part in (
        "Old GPU",
        "CUDA 13.0",
        "R580",
        "550.54.15",
        "CUDA 12.4",
        "pip install 'warp-lang==1.17.*'",
        "--device cpu",
    ):
        assert part in str(error.value)
    monkeypatch.setattr(warp_setup.wp, "get_cuda_driver_version", lambda: (11, 8))
    with pytest.raises(DeviceError, match=r"CUDA 11\.8\. Update the driver, take a newer runtime, or use --device cpu"):
        warp_setup.require_device(CUDA)


def test_renderers_on_the_cpu_need_no_driver(monkeypatch):
    monkeypatch.setattr(warp_setup.wp, "get_cuda_device_count", lambda: 0)
    warp_setup.require_device(torch.device("cpu"))


@pytest.mark.usefixtures("old_gpu")
def test_a_gpu_that_is_smaller_than_the_configuration_says_is_refused():
    build._require_memory(mesh_run(gpu_memory_gb=4), CUDA)
    build._require_memory(mesh_run(), CUDA)
    build._require_memory(mesh_run(gpu_memory_gb=40), torch.device("cpu"))
    with pytest.raises(DeviceError, match=r"needs a GPU of 5 GB .* Old GPU has 4\.3 GB"):
        build._require_memory(mesh_run(gpu_memory_gb=5), CUDA)


@pytest.mark.parametrize(
    ("version", "clamp"), [("1.4.0", 0.999), ("1.5.3", 0.999), ("1.6.0", 0.99), ("2.0.1+cu12", 0.99)]
)
def test_gsplat_clamps_by_its_version(version, clamp):
    assert gsplat_clamp(version) == clamp


def test_hardware_says_what_results_depend_on(monkeypatch):
    assert hardware_of(torch.device("cpu"), torch.float32) == {"precision": "fp32", "device": "cpu"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Some GPU")
    hardware = hardware_of(CUDA, torch.float16)
    assert hardware["precision"] == "fp16"
    assert hardware["device"] == "Some GPU"
    assert hardware["driver"]

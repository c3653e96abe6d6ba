"""Frames: the same pictures as a forward pass, whatever they share, and on CUDA one wait of the host for each."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage, jiggle
from torch import Tensor

from gazegaussian.inference import FrameRenderer, Redirector, frame_precision
from gazegaussian.models.face_stream import FaceStream
from gazegaussian.rendering.binning import ListRoom, bin_tiles
from gazegaussian.rendering.projection import ProjectedSplats

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_DB = 40
MODELS = {
    "default": {},
    "code basis": {"code_basis_rank": 4},
    "released": {"variant": "released", "renderer": "conv", "eye_subdivisions": 0},
}


def trained(name: str = "default", scale: float = 0.02):
    """A model that is off its start, whose parts all show."""
    model = gaze_stage(gaze_run(**MODELS[name])).model
    jiggle(model, scale)
    return model


def heads(count: int = 2):
    rows = batch(count)
    return rows.parameters, rows.cameras


def forward(model, parameters, cameras, device="cpu") -> Tensor:
    with torch.no_grad():
        return model(parameters.to(device), cameras.to(device), layers=False).image.float().clamp(0, 1).cpu()


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


def steps_of(head):
    """A sequence in which each kind of parameter changes alone, and one that goes back."""
    looking = replace(head, gaze=head.gaze + 0.2)
    turned = replace(looking, pose=looking.pose + 0.05)
    other = replace(turned, shape_code=turned.shape_code + 0.5)
    return [head, looking, turned, other, head]


@pytest.mark.parametrize("name", MODELS)
def test_frames_are_those_of_a_forward_pass(name):
    model = trained(name)
    head, cameras = heads()
    frames = FrameRenderer(copy.deepcopy(model), torch.float32)
    pictures = [frames.render(step, cameras) for step in steps_of(head)]
    for step, picture in zip(steps_of(head), pictures, strict=True):
        torch.testing.assert_close(picture, forward(model, step, cameras), atol=1e-5, rtol=0)
    apart = [(a - b).abs().max().item() for a, b in zip(pictures[1:], pictures[:-1], strict=True)]
    assert min(apart) > 1e-4, apart


def test_the_face_is_computed_again_only_where_it_changes(monkeypatch):
    seen = []
    for name in ("still", "with_code", "posed"):
        plain = getattr(FaceStream, name)

        def counted(self, *args, _plain=plain, _name=name):
            seen.append((_name, len(args[-1].pose) if _name == "posed" else None))
            return _plain(self, *args)

        monkeypatch.setattr(FaceStream, name, counted)
    head, cameras = heads(1)
    frames = FrameRenderer(trained(), torch.float32)
    for step in steps_of(head):
        frames.render(step, cameras)
    assert [name for name, _ in seen] == [
        "still",
        "with_code",
        "posed",
        "posed",
        "with_code",
        "posed",
        "with_code",
        "posed",
    ]
    seen.clear()
    Redirector(trained(), 64, torch.device("cpu")).image(batch(1), torch.rand(3, 2))
    assert seen == [("still", None), ("with_code", None), ("posed", 1)], "three gazes share a face"


@pytest.mark.parametrize("dtype", HALF.values(), ids=HALF)
def test_half_precision_shows_the_same_picture(dtype):
    """Autocast of the CPU; `test_cuda_steps.py` has that of CUDA."""
    model = trained()
    head, cameras = heads()
    frames = FrameRenderer(copy.deepcopy(model), dtype)
    for step in steps_of(head)[:3]:
        assert psnr(frames.render(step, cameras), forward(model, step, cameras)) >= LEAST_DB


@pytest.mark.parametrize(
    ("trained_in", "expected"), [("auto", torch.float16), ("bf16", torch.float16), ("fp32", torch.float32)]
)
def test_the_device_decides_the_precision_unless_training_was_in_full(monkeypatch, trained_in, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    assert frame_precision(trained_in, torch.device("cuda")) == expected
    assert frame_precision(trained_in, torch.device("cpu")) == torch.float32


def splats(count: int, size: float, seed: int = 0) -> ProjectedSplats:
    made = torch.Generator().manual_seed(seed)
    extents = torch.full((count, 2), size)
    extents[::7] = -1  # culled
    means = 64 * torch.rand(count, 2, generator=made)
    return ProjectedSplats(means, torch.ones(count, 3), torch.rand(count, generator=made), extents)


def test_lists_with_room_are_the_lists_and_too_little_room_is_noticed():
    room = ListRoom()
    small = [splats(200, 4.0, seed) for seed in range(3)]
    for scene in small:
        exact = bin_tiles(scene, 2, 64, 64, 16)
        tiles = bin_tiles(scene, 2, 64, 64, 16, room)
        assert torch.equal(tiles.offsets, exact.offsets)
        assert torch.equal(tiles.splats[: exact.offsets[-1]], exact.splats)
    assert room.needed is not None
    assert room.fits(int(room.needed))
    large = splats(200, 30.0)
    exact = bin_tiles(large, 2, 64, 64, 16)
    bin_tiles(large, 2, 64, 64, 16, room)
    assert int(room.needed) == len(exact.splats)
    assert not room.fits(int(room.needed)), "the list was cut"
    tiles = bin_tiles(large, 2, 64, 64, 16, room)
    assert room.fits(int(room.needed))
    assert torch.equal(tiles.splats[: exact.offsets[-1]], exact.splats)
    bin_tiles(small[0], 1, 64, 64, 16, room)
    assert room.needed is None, "another number of images counts anew"

"""Both stages on a CUDA device: a GPU where there is one, else the stand-in (`test_cuda_stand_in.py` runs these there)."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path

import pytest
import torch
from synthetic_support import batch, gaze_run, gaze_stage, jiggle, mesh_run, mesh_stage

from gazegaussian import inference
from gazegaussian.errors import DeviceError, NonFiniteError
from gazegaussian.evaluation.batching import batch_that_fits, in_batches
from gazegaussian.models import mesh_head
from gazegaussian.training.step import autocast, optimisation_step
from gazegaussian.training.trainer import Trainer

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

MOST_WAITS = 3  # per step; see `waits_of`
FEW = {"device": "cuda", "max_train_images": 2, "warm_start_steps": 30}  # calls on the stand-in are slow
PUBLISHED = {"variant": "published", "renderer": "conv", "eye_subdivisions": 0}
STAGES = {
    "meshhead": lambda **given: mesh_stage(mesh_run(**FEW | given)),
    "meshhead published": lambda **given: mesh_stage(mesh_run(**FEW | {"variant": "published"} | given)),
    "gazegaussian": lambda **given: gaze_stage(gaze_run(**FEW | given)),
    "gazegaussian published": lambda **given: gaze_stage(gaze_run(**FEW | PUBLISHED | given)),
}


def trainer_of(stage, folder: Path) -> Trainer:
    run = stage.config
    return Trainer(stage, run.training, run.optim, folder, (), run.model_dump(mode="json"))


def step_of(trainer: Trainer):
    """A function that makes one training step on images that are on the device."""
    rows = batch(2).to("cuda")

    def losses():
        with autocast(trainer.device, trainer.dtype):
            return trainer.stage.losses(rows, 0)

    return lambda: optimisation_step(losses, trainer.parameters, trainer.optimizer, trainer.scaler, 1.0)


def waits_of(call) -> list[str]:
    """Lines at which the host waits for the device during a call."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in seen if "synchroniz" in str(w.message)]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_validates_and_shows_itself(name, precision, tmp_path):
    # The first steps in half precision overflow, and are skipped: four steps an epoch instead of one.
    images = {"max_train_images": 4, "batch_size": 1} if precision == "fp16" else {}
    trainer = trainer_of(STAGES[name](precision=precision, preview_images=2, **images), tmp_path)
    result = trainer.fit()
    assert math.isfinite(result.best_metric)
    assert result.history[0]["train_loss"] > 0
    assert {p.device.type for p in trainer.parameters} == {"cuda"}
    assert result.last_checkpoint.is_file()
    assert list(tmp_path.glob("images/*.png"))


@pytest.mark.parametrize("name", ["meshhead", "gazegaussian", "gazegaussian published"])
def test_the_host_waits_three_times_a_step_at_most(name, tmp_path):
    """For the sizes of the mesh and the number of its border pixels, or of the tile lists; and whether all is finite."""
    stage = STAGES[name](precision="fp16")
    stage.to(torch.device("cuda"))
    stage.prepare()
    step = step_of(trainer_of(stage, tmp_path))
    step()  # compiles, and makes what is kept per device
    waits = waits_of(step)
    assert 1 <= len(waits) <= MOST_WAITS, waits


@pytest.mark.parametrize("name", ["gazegaussian", "gazegaussian published"])
def test_frames_are_in_half_precision_and_the_host_waits_for_the_picture_alone(name, monkeypatch):
    asked = []
    to_host = inference._to_host
    monkeypatch.setattr(inference, "_to_host", lambda *given: asked.append(given) or to_host(*given))
    model = STAGES[name]().model
    jiggle(model, 0.02)
    model.to("cuda")
    rows = batch(2)
    head = rows.parameters
    looking = dataclasses.replace(head, gaze=head.gaze + 0.2)
    turned = dataclasses.replace(looking, pose=looking.pose + 0.05)
    with torch.no_grad():
        full = model(turned.to("cuda"), rows.cameras.to("cuda"), layers=False).image.float().clamp(0, 1).cpu()
    frames = inference.FrameRenderer(model, inference.frame_precision("auto", torch.device("cuda")))
    assert {layer.weight.dtype for layer in model.renderer.modules() if isinstance(layer, torch.nn.Conv2d)} != {
        torch.float32
    }
    frames.render(head, rows.cameras)  # compiles, and learns how long the tile lists are
    for step in (looking, turned):
        assert waits_of(lambda step=step: frames.render(step, rows.cameras)) == []
    assert len(asked) == 3, "once a frame"
    picture = frames.render(turned, rows.cameras)
    assert picture.device.type == "cpu"
    assert -10 * math.log10((picture - full).square().mean().item()) >= 40  # dB
    frames._room._entries = 3  # as if a head had come nearer
    torch.testing.assert_close(frames.render(turned, rows.cameras), picture)
    assert len(asked) == 6, "a list that was cut is made again"


def test_a_meshhead_follows_its_surface_as_if_it_looked_everywhere(tmp_path, monkeypatch):
    """Between full passes only the grid points near the last surface are evaluated."""
    losses = []
    for full_pass in (20, 0):
        monkeypatch.setattr(mesh_head, "FULL_PASS", full_pass)
        stage = STAGES["meshhead"](precision="fp32", lr=1e-3)
        trainer = trainer_of(stage, tmp_path)
        stage.prepare()
        stage.module.train()
        step = step_of(trainer)
        losses.append([sum(term.item() for term in step().values()) for _ in range(6)])
        assert stage.module._kept_for == (5 if full_pass else 0)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("bf16", "fp16"), ("fp16", "fp32"), ("fp16", "fp16")])
def test_a_training_goes_on_in_another_precision(before, after, tmp_path):
    """A study begun on an A100 goes on on a T4."""
    first = trainer_of(STAGES["meshhead"](precision=before), tmp_path)
    first.fit()
    second = trainer_of(STAGES["meshhead"](precision=after, epochs=2), tmp_path)
    assert len(second.fit(resume=first.last_path).history) == 2


def test_a_training_of_the_cpu_goes_on_in_half_precision(tmp_path):
    first = trainer_of(mesh_stage(mesh_run(warm_start_steps=30, max_train_images=2)), tmp_path)
    first.fit()
    assert len(trainer_of(STAGES["meshhead"](precision="fp16", epochs=2), tmp_path).fit(first.last_path).history) == 2


def overflowing(weight):
    """A loss that is finite, with gradients that no scale makes so."""
    return lambda: {"loss": (weight * 0).sum() + (weight.sqrt() * 0).sum()}


def test_half_precision_that_never_has_finite_gradients_is_an_error():
    weight = torch.zeros(3, device="cuda", requires_grad=True)  # the root's slope is infinite here
    optimizer = torch.optim.Adam([weight], fused=True)
    scaler = torch.amp.GradScaler("cuda")

    def steps(count):
        for _ in range(count):
            optimisation_step(overflowing(weight), [weight], optimizer, scaler, 1.0)

    steps(10)  # skipped, as fp16 skips a few
    with pytest.raises(NonFiniteError, match="Use precision: fp32"):
        steps(10)
    assert torch.equal(weight.detach().cpu(), torch.zeros(3))


def test_a_training_whose_every_step_was_skipped_is_no_result(tmp_path, monkeypatch):
    trainer = trainer_of(STAGES["gazegaussian"](precision="fp16"), tmp_path)
    losses = trainer.stage.losses
    means = trainer.stage.model.face.means

    def too_steep(rows, epoch):
        return losses(rows, epoch) | {"steep": ((means * 0).sqrt() * 0).sum()}

    monkeypatch.setattr(trainer.stage, "losses", too_steep)
    with pytest.raises(NonFiniteError, match="no step had finite gradients"):
        trainer.fit()


def test_a_batch_is_planned_by_free_memory_and_halved_when_it_does_not_fit():
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info(device)
    assert batch_that_fits(1, device) == 16
    assert batch_that_fits(free, device) == 1
    seen = []

    def work(items):
        seen.append(len(items))
        if len(items) > 2:
            torch.empty(2 * free, dtype=torch.uint8, device="cuda")
        return sum(items)

    results = list(in_batches(range(7), 4, work))
    assert seen == [4, 2, 2, 2, 1]
    assert results == [([0, 1], 1), ([2, 3], 5), ([4, 5], 9), ([6], 6)]
    with pytest.raises(DeviceError, match="Not even one image"):
        list(in_batches(range(2), 2, lambda items: torch.empty(2 * free, dtype=torch.uint8, device="cuda")))

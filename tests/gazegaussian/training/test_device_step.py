"""What a training step asks of a device: how often the host waits for it, batches, precision. No GPU is needed to count."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from rendering_scenes import make_cameras, make_gaussians
from synthetic_support import batch, gaze_run, gaze_stage, mesh_stage
from torch.utils._python_dispatch import TorchDispatchMode

from gazegaussian.build import train_run
from gazegaussian.errors import UserError
from gazegaussian.models import branches
from gazegaussian.rendering import render_splats, splats
from gazegaussian.training.step import optimisation_step, resolve_precision
from gazegaussian.training.trainer import Trainer

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class HostWaits(TorchDispatchMode):
    """Counts operations whose result, or whose shape, the host needs: on CUDA each waits for the whole queue."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        kwargs = kwargs or {}
        by_mask = name in INDEXING and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        repeats = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in WAITS or by_mask or repeats:
            self.counts[name] += 1
        return func(*args, **kwargs)


def one_step(stage, folder: Path, device="cpu"):
    """A function that makes one training step of a stage, as the trainer makes it."""
    trainer = Trainer(stage, stage.config.training, stage.config.optim, folder)
    rows = batch(2).to(device)

    def step():
        losses = lambda: stage.losses(rows, 0)  # noqa: E731
        return optimisation_step(losses, trainer.parameters, trainer.optimizer, trainer.scaler, 1.0)

    return step


def test_the_counter_sees_what_waits():
    x = torch.arange(6.0)
    with HostWaits() as waits:
        _ = x[x > 2], x.unique(), x.sum().item(), torch.repeat_interleave(x, torch.ones(6, dtype=torch.long))
        _ = x[torch.tensor([1, 2])], torch.where(x > 2, x, 0), x + 1
    assert sum(waits.counts.values()) == 4


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Branches are computed at all points, as on a GPU."""
    monkeypatch.setattr(branches, "finds_rows", lambda device: False)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_gazegaussian_step_waits_for_three_things(tmp_path):
    """The length of the splats' lists, whether loss and gradient are finite, and the points that two conditions, or both, act on.

    The CPU finds the latter thrice; CUDA counts all in one wait (`test_cuda_steps.py`).
    """
    step = one_step(gaze_stage(), tmp_path)
    with HostWaits() as waits:
        step()
    assert waits.counts == {"_local_scalar_dense": 2, "nonzero": 3}


def test_the_splats_of_cuda_wait_once():
    """For the length of their tile lists, culled splats or not. (Their backward is two kernels: slow on a CPU.)"""
    scene = make_gaussians(2, 60, 3, torch.float32)
    cameras = make_cameras(2, 24, 16, torch.float32)
    with HostWaits() as waits:
        render_splats(scene, cameras, torch.zeros(3), "warp-blocks")
    assert waits.counts == {"_local_scalar_dense": 1}


@pytest.mark.parametrize("make", [mesh_stage, gaze_stage])
def test_branches_at_the_points_that_they_reach_give_the_same_losses(make, monkeypatch):
    stage = make()
    stage.prepare()
    losses = stage.losses(batch(2), 0)
    monkeypatch.setattr(branches, "finds_rows", lambda device: False)
    everywhere = stage.losses(batch(2), 0)
    for name, value in losses.items():
        torch.testing.assert_close(value, everywhere[name], rtol=1e-5, atol=1e-6)


def test_a_batch_is_the_mean_of_its_images():
    stage = gaze_stage(gaze_run(eye_region_importance=0.0))
    rows = batch(2)

    def losses_and_gradient(index):
        stage.module.zero_grad()
        terms = stage.losses(rows.rows(index), 0)
        torch.stack(list(terms.values())).sum().backward()
        gradient = {name: p.grad.clone() for name, p in stage.model.named_parameters() if p.grad is not None}
        return {name: value.item() for name, value in terms.items()}, gradient

    (first, first_grad) = losses_and_gradient([0])
    (second, second_grad) = losses_and_gradient([1])
    together, gradient = losses_and_gradient([0, 1])
    for name, value in together.items():
        assert value == pytest.approx((first[name] + second[name]) / 2, abs=2e-6, rel=1e-4), name
    for name, value in gradient.items():
        expected = (first_grad[name] + second_grad[name]) / 2
        assert (value - expected).abs().max() <= 1e-3 * expected.abs().max() + 1e-6, name


def test_all_images_and_layers_of_a_step_share_one_render(monkeypatch):
    stage = gaze_stage()
    seen = []
    render = splats._splat_warp
    renderer = stage.model.renderer.forward

    def splatted(gaussians, *rest):
        seen.append(("splats", gaussians.means.shape[0]))
        return render(gaussians, *rest)

    def upsampled(features, parameters):
        seen.append(("renderer", features.shape[0]))
        return renderer(features, parameters)

    monkeypatch.setattr(splats, "_splat_warp", splatted)
    monkeypatch.setattr(stage.model.renderer, "forward", upsampled)
    stage.losses(batch(2), 0)
    assert seen == [("splats", 6), ("renderer", 6)]  # head, face and eyes of two images


def test_training_splats_with_the_chosen_backend():
    """The backends agree in a whole step, and another than warp was really used."""
    rows = batch(2)
    results = {}
    for backend in ("warp", "torch"):
        stage = gaze_stage(gaze_run(splat_backend=backend))
        terms = stage.losses(rows, 0)
        torch.stack(list(terms.values())).sum().backward()
        results[backend] = {name: term.item() for name, term in terms.items()}, stage.model.face.means.grad
    assert results["torch"][0] == {name: pytest.approx(term, rel=1e-4) for name, term in results["warp"][0].items()}
    ours = results["warp"][1]
    theirs = results["torch"][1]
    assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
    assert not torch.equal(ours, theirs)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_gsplat_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="gsplat"):
        train_run(gaze_run(splat_backend="gsplat"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_autocast_follows_the_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda")) == dtype
    assert resolve_precision("auto", torch.device("cpu")) == torch.float32


@pytest.mark.cuda
@needs_cuda
def test_steps_on_cuda_agree_with_the_cpu(tmp_path):
    terms = {}
    for device in ("cpu", "cuda"):
        run = gaze_run(device=device, precision="fp32")
        step = one_step(gaze_stage(run), tmp_path, device)
        terms[device] = [{name: value.item() for name, value in step().items()} for _ in range(3)]
    for cpu, cuda in zip(terms["cpu"], terms["cuda"], strict=True):
        assert cuda == pytest.approx(cpu, abs=1e-4, rel=1e-2)


@pytest.mark.cuda
@needs_cuda
def test_training_learns_in_half_precision_on_cuda(tmp_path):
    stage = gaze_stage(gaze_run(device="cuda", precision="auto"))
    trainer = Trainer(stage, stage.config.training, stage.config.optim, tmp_path)
    means = [trainer._train_epoch(0)["train_loss"] for _ in range(3)]
    assert means[-1] < means[0]

"""The epoch loop, with a small stage of another model: resume, guards, checkpoints, hooks."""

import csv

import pytest
import torch
from trainer_support import LineStage, StopAfter, trainer

from gazegaussian.errors import CheckpointError, DeviceError, NonFiniteError
from gazegaussian.training.checkpoints import SCHEMA_VERSION, load_checkpoint, save_checkpoint
from gazegaussian.training.hooks import Hook
from gazegaussian.training.step import optimisation_step, resolve_device


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = trainer(tmp_path / "whole").fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", hooks=[StopAfter(2)]).fit()
    stage = LineStage(seed=99)  # other initial weights: everything must come from the checkpoint
    resumed = trainer(tmp_path / "cut", stage).fit(resume=tmp_path / "cut" / "last.pt")
    assert stage.prepared == 0
    assert [r["val_loss"] for r in resumed.history] == [r["val_loss"] for r in whole.history]
    a, b = (load_checkpoint(p / "last.pt")["model"] for p in (tmp_path / "whole", tmp_path / "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


class IndexedStage(LineStage):
    """Takes its weights by an index with repeats, as meshes take the vertices of their faces."""

    def losses(self, batch, epoch):
        index = torch.arange(200_000) % 7
        steps = torch.linspace(0.1, 1, 200_000)
        return {"mse": (self.module[0].weight[index].sum(-1) * steps).square().mean()}


def test_several_threads_train_the_same_every_time(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for name in "abc":
            trainer(tmp_path / name, IndexedStage()).fit()
    finally:
        torch.set_num_threads(threads)
    assert not torch.are_deterministic_algorithms_enabled(), "what others compute is theirs"
    first, *others = (load_checkpoint(tmp_path / name / "last.pt")["model"] for name in "abc")
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_training_learns_and_best_is_the_minimum(tmp_path):
    result = trainer(tmp_path, epochs=12).fit()
    values = [row["val_loss"] for row in result.history]
    assert values[-1] < 0.5 * values[0]
    assert result.best_metric == min(values)
    assert load_checkpoint(result.best_checkpoint)["best"]["epoch"] == values.index(min(values))


def test_nan_loss_stops_before_the_weights_are_touched(tmp_path):
    stage = LineStage(bad_at=6)  # second step of the second epoch
    with pytest.raises(NonFiniteError, match="mse"):
        trainer(tmp_path, stage).fit()
    assert all(torch.isfinite(p).all() for p in stage.module.parameters())
    assert len(load_checkpoint(tmp_path / "last.pt")["history"]) == 1


def test_infinite_gradient_stops_before_the_weights_are_touched():
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight])
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with pytest.raises(NonFiniteError, match="gradient"):
        optimisation_step(lambda: {"root": weight.sqrt().sum()}, [weight], optimizer, scaler, 1.0)
    assert torch.equal(weight.detach(), torch.zeros(3))


def test_clipping_bounds_the_update_direction():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimisation_step(lambda: {"big": (weight * 1e6).sum()}, [weight], optimizer, scaler, 1.0)
    assert weight.detach().norm().item() == pytest.approx(1.0, rel=1e-4)


def test_early_stopping_counts_epochs_without_improvement(tmp_path):
    stage = LineStage(validation=[3.0, 2.0, 2.5, 2.6, 1.0, 0.5])
    result = trainer(tmp_path, stage, patience=2).fit()
    assert len(result.history) == 4
    assert result.best_epoch == 1
    assert "no improvement" in result.stop_reason


def test_files_of_a_run(tmp_path):
    trainer(tmp_path, epochs=2).fit()
    with (tmp_path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"], "people count from 1"
    assert {"val_loss", "train_loss", "loss_mse", "seconds"} <= set(rows[0])
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_learning_rate_decays_to_the_configured_share(tmp_path):
    run = trainer(tmp_path, epochs=5)
    seen = []

    class Watch(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            seen.append(trainer.optimizer.param_groups[0]["lr"])

    run.hooks.append(Watch())
    run.fit()
    assert seen[3] == pytest.approx(0.005)  # the rate of the fifth and last epoch


def test_checkpoint_of_another_schema_version_is_refused(tmp_path):
    path = tmp_path / "old.pt"
    save_checkpoint(path, {"stage": "line", "variant": "default", "config": {}, "architecture": {}, "model": {}})
    content = torch.load(path, weights_only=True)
    torch.save({**content, "schema_version": SCHEMA_VERSION + 1}, path)
    with pytest.raises(CheckpointError, match=f"schema version {SCHEMA_VERSION + 1}.*reads version {SCHEMA_VERSION}"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_damaged_checkpoint_gives_one_line(tmp_path, content):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_long_reason_is_cut_between_words(tmp_path, monkeypatch):
    words = "something went terribly wrong while this file was unpacked " * 5

    def fail(*args, **kwargs):
        raise RuntimeError(words)

    path = tmp_path / "bad.pt"
    path.touch()
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=r"\(something .* \.\.\.\)") as caught:
        load_checkpoint(path)
    reason = str(caught.value).split("(")[1].split(" ...")[0]
    assert set(reason.split()) <= set(words.split())
    assert len(reason) <= 120


def test_checkpoint_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"schema_version": SCHEMA_VERSION, "model": Evil()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_wrong_stage_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"stage": "line", "variant": "default", "config": {}, "architecture": {}, "model": {}})
    with pytest.raises(CheckpointError, match="'line'; 'meshhead' is needed"):
        load_checkpoint(path, "meshhead")


def test_checkpoints_of_earlier_versions_name_their_variant_as_today(tmp_path):
    path = tmp_path / "a.pt"
    for earlier, now in (("ours", "default"), ("published", "released")):
        save_checkpoint(path, {"stage": "line", "variant": earlier, "config": {}, "architecture": {}, "model": {}})
        assert load_checkpoint(path)["variant"] == now


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_a_clear_error():
    with pytest.raises(DeviceError, match="--device cpu or auto"):
        resolve_device("cuda")


class CutShortStage(LineStage):
    """A signal comes just as torch has switched gradients off."""

    def validate(self):
        torch.no_grad().__enter__()
        raise KeyboardInterrupt


def test_an_interrupted_training_leaves_gradients_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, CutShortStage()).fit()
    assert torch.is_grad_enabled()

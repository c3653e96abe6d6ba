"""Hostile checkpoints: one clear line or a right reading; nothing in them is executed, and nothing grows."""

import pickle
import zipfile

import pytest
import torch
from hostile_support import Payload, assert_harmless, assert_refused, mutations

from gazegaussian.config import MeshHeadRun
from gazegaussian.models.variants import build_mesh_head
from gazegaussian.published.import_checkpoint import read_published
from gazegaussian.training.checkpoints import save_checkpoint
from gazegaussian.training.initial_weights import adopt_sizes
from gazegaussian.training.mesh_head_stage import load_mesh_head
from gazegaussian.training.run_folder import find_run

SMALL = {"grid_resolution": 6, "geometry_width": 8, "shape_mlp_width": 8, "pose_mlp_width": 8, "eye_mlp_width": 8}


def content():
    config = MeshHeadRun.model_validate({"model": SMALL})
    return {
        "stage": "meshhead",
        "variant": "default",
        "config": config.model_dump(mode="json"),
        "architecture": {"mesh_model": config.model.model_dump(mode="json")},
        "model": build_mesh_head(config.model).state_dict(),
        "history": [{"epoch": 0.0, "val_loss": 1.0}],
        "best": {"metric": 1.0, "epoch": 0, "monitor": "val_loss"},
    }


@pytest.fixture
def checkpoint(tmp_path):
    save_checkpoint(tmp_path / "last.pt", content())
    return tmp_path / "last.pt"


def use(path):
    """All that a checkpoint is used for without its data."""
    config = MeshHeadRun.model_validate({"model": SMALL})
    load_mesh_head(path)
    adopt_sizes(config, path)
    find_run(config, path.parent)


def test_a_payload_is_not_executed(tmp_path):
    path = tmp_path / "last.pt"
    marker = tmp_path / "executed"
    torch.save({**content(), "schema_version": 1, "extra": Payload(marker)}, path)
    assert_refused(use, path, "more than weights")
    torch.save({"meshhead": {"a": Payload(marker)}}, path, _use_new_zipfile_serialization=False)
    assert_refused(read_published, path, str(path))
    path.write_bytes(pickle.dumps(Payload(marker)))
    assert_refused(use, path, "more than weights")
    assert not marker.exists()


def test_compressed_checkpoints_are_refused_before_they_grow(checkpoint):
    with zipfile.ZipFile(checkpoint) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            archive.writestr(name, value if name.endswith("pkl") else bytes(3_000_000))
    assert_refused(use, checkpoint, "larger than the file")


def laughs():
    value = ["ha"] * 10
    for _ in range(12):
        value = [value] * 10
    return value


def wide(name, width):
    def change(good):
        good["architecture"]["mesh_model"][name] = width
        good["config"]["model"][name] = width

    return change


WRONG = {
    "an expanded tensor": lambda c: c["model"].update(landmarks_3d_neutral=torch.zeros(1).expand(10**6, 10**6)),
    "a sparse tensor": lambda c: c["model"].update(
        landmarks_3d_neutral=torch.sparse_coo_tensor(size=(10**6, 10**6), check_invariants=True)
    ),
    "a meta tensor": lambda c: c["model"].update(landmarks_3d_neutral=torch.zeros(10**9, device="meta")),
    "another shape": lambda c: c["model"].update(landmarks_3d_neutral=torch.zeros(5, 3)),
    "a string for a tensor": lambda c: c["model"].update(landmarks_3d_neutral="zeros"),
    "a missing tensor": lambda c: c["model"].popitem(),
    "a tensor too many": lambda c: c["model"].update(other=torch.zeros(1)),
    "no architecture": lambda c: c["architecture"].clear(),
    "an endless width": wide("pose_mlp_width", 10**9),
    "a large width": wide("pose_mlp_width", 10**5),
    "a huge grid": wide("grid_resolution", 4096),
    "a width that is none": wide("pose_mlp_width", "wide"),
    "a billion laughs": lambda c: c.update(stage=laughs()),
    "laughing sizes": lambda c: c["architecture"].update(mesh_model=laughs()),
    "a stage that is a list": lambda c: c.update(stage=["meshhead"]),
    "weights that are a list": lambda c: c.update(model=[]),
    "a configuration that is none": lambda c: c.update(config={"training": 3}),
    "no history": lambda c: c.pop("history"),
    "a strange history": lambda c: c.update(history=[3]),
    "a strange best": lambda c: c.update(best=None),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_checkpoints_with_wrong_contents(tmp_path, change):
    bad = content()
    change(bad)
    torch.save({"schema_version": 1, **bad}, tmp_path / "last.pt")
    assert_refused(use, tmp_path / "last.pt", "last.pt")


@pytest.mark.parametrize("state", [{}, {"a": 3}, {"a": torch.zeros(1).expand(10**12)}, laughs()])
@pytest.mark.parametrize("key", ["meshhead", "gazegaussian"])
def test_published_checkpoints_with_wrong_contents(tmp_path, key, state):
    torch.save({key: state}, tmp_path / "published.pt")
    assert_refused(read_published, tmp_path / "published.pt", "published.pt")


def test_mutated_checkpoints_are_read_or_refused(checkpoint):
    good = checkpoint.read_bytes()
    for bad in mutations(good):
        checkpoint.write_bytes(bad)
        assert_harmless(use, checkpoint)

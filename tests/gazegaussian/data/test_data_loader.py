"""Splits and loaders: who is for what, and in which order."""

import json
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from fixtures_support import COMPACT

from gazegaussian.data.hdf5 import HeadDataset
from gazegaussian.data.loader import make_loader
from gazegaussian.data.splits import load_split
from gazegaussian.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(6):
        shutil.copy(COMPACT / "xgaze_subject0000.h5", tmp_path / f"xgaze_subject{i:04d}.h5")
    return tmp_path


def write_split(folder: Path, **splits: object) -> None:
    (folder / "train_test_split.json").write_text(json.dumps(splits))


def test_fallback_split_holds_out_every_fifth_subject(folder: Path) -> None:
    split = load_split(folder)
    assert split["val"] == ["subject0004.h5"]
    assert set(split["train"]).isdisjoint(split["val"])
    assert len(split["train"]) == 5


def test_subject_in_train_and_val_is_an_error(folder: Path) -> None:
    write_split(folder, train=["subject0000.h5", "subject0001.h5"], val=["subject0001.h5"])
    with pytest.raises(DataError, match=r"found in both: subject0001.h5"):
        load_split(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected the keys train and val, found list"),
        ('{"train": []}', "expected the keys train and val, found train"),
        ('{"train": "subject0000.h5", "val": []}', "train: expected a list"),
        ('{"train": ["a.h5", "a.h5"], "val": []}', "found several times: a.h5"),
    ],
)
def test_unusable_split_files(folder: Path, text: str, message: str) -> None:
    (folder / "train_test_split.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_split(folder)


@pytest.fixture
def dataset(folder: Path) -> HeadDataset:
    write_split(folder, train=["subject0000.h5", "subject0001.h5", "subject0002.h5"], val=["subject0003.h5"])
    return HeadDataset(folder, "train", 64)


def order(loader, epoch: int) -> list[list[int]]:
    loader.set_epoch(epoch)
    return [batch.index.tolist() for batch in loader]


def test_order_depends_on_seed_and_epoch_alone(dataset: HeadDataset) -> None:
    one = make_loader(dataset, 2, True, seed=3)
    two = make_loader(dataset, 2, True, seed=3)
    first = order(one, 1)
    order(one, 7)
    assert order(one, 1) == first == order(two, 1)
    assert order(one, 2) != first
    assert order(make_loader(dataset, 2, True, seed=4), 1) != first
    assert sorted(chain.from_iterable(first)) == list(range(9))  # nothing dropped: the last batch is smaller
    assert [len(batch) for batch in first] == [2, 2, 2, 2, 1]
    assert list(chain.from_iterable(order(make_loader(dataset, 4, False), 5))) == list(range(9))


def test_workers_forked_after_files_were_opened_give_the_same_batches(dataset: HeadDataset) -> None:
    assert dataset[0]["image"].shape == (3, 64, 64)  # opens a file in this process
    alone = make_loader(dataset, 4, True, seed=1)
    forked = make_loader(dataset, 4, True, seed=1, workers=2)
    for epoch in (0, 1):
        assert order(alone, epoch) == order(forked, epoch)
    alone.set_epoch(2)
    forked.set_epoch(2)
    for a, b in zip(alone, forked, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.landmarks_3d, b.landmarks_3d)
        assert torch.equal(a.parameters.shape_code, b.parameters.shape_code)


def test_subjects_tracked_with_other_meshes_still_make_a_batch(folder: Path, caplog) -> None:
    import h5py

    with h5py.File(folder / "xgaze_subject0001.h5", "r+") as file:
        vertices = file["vertice"][:, :501]
        del file["vertice"]
        file["vertice"] = vertices
    dataset = HeadDataset(folder, ["subject0000.h5", "subject0001.h5"], 64)
    batch = next(iter(make_loader(dataset, 6, False)))
    assert batch.landmarks_3d.shape == (6, 68 + 6, 3)
    assert "tracked meshes differ" in caplog.text

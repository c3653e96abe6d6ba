"""The reader's error corpus: one line that names file, key, what was expected and what was found."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures_support import COMPACT, edit, replace

from gazegaussian.data.check import check_dataset
from gazegaussian.data.hdf5 import HeadDataset, SubjectFile
from gazegaussian.data.schema import KEYS, TRAINING_ONLY
from gazegaussian.errors import DataError

SIZE = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the one compact subject (4 images, one of them unusable)."""
    shutil.copy(COMPACT / "xgaze_subject0000.h5", tmp_path)
    return tmp_path


def without(key: str):
    return lambda file: file.__delitem__(key)


CORPUS = [
    *[(without(key.name), key.name) for key in KEYS if key.required],
    (lambda f: replace(f, "latent_codes", np.zeros((4, 143), np.float32)), r"latent_codes: expected at least 144.*143"),
    (lambda f: replace(f, "pose", np.zeros((4, 7), np.float32)), r"pose: expected shape \(4, 6\), found \(4, 7\)"),
    (lambda f: replace(f, "pose", np.zeros((3, 6), np.float32)), r"pose: expected shape \(4, 6\), found \(3, 6\)"),
    (lambda f: replace(f, "scale", np.zeros(4, np.float32)), r"scale: expected shape \(4, 1\), found \(4,\)"),
    (lambda f: replace(f, "head_mask", np.zeros((4, 9, 9), np.uint8)), r"head_mask: expected shape \(4, 64, 64\)"),
    (lambda f: replace(f, "head_mask", np.zeros((4, 64, 64))), r"head_mask: expected uint8"),
    (lambda f: replace(f, "gaze_x", 0) if "gaze_x" in f else replace(f, "inmat", np.zeros((4, 3, 3), int)), "inmat"),
    (lambda f: replace(f, "face_patch", np.zeros((4, 64, 32, 3), np.uint8)), r"face_patch: expected shape"),
    (lambda f: replace(f, "face_patch", np.zeros((0, 64, 64, 3), np.uint8)), r"at least one image"),
]


@pytest.mark.parametrize(("change", "message"), CORPUS, ids=range(len(CORPUS)))
def test_damaged_contents_name_file_key_expected_and_found(folder: Path, change, message: str) -> None:
    path = edit(folder, change)
    with pytest.raises(DataError, match=message) as caught:
        HeadDataset(folder, ["subject0000.h5"], SIZE)
    text = str(caught.value)
    assert path.name in text
    assert "expected" in text
    assert "found" in text
    assert "\n" not in text


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_truncated_files(folder: Path, keep: int) -> None:
    path = folder / "xgaze_subject0000.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"xgaze_subject0000.h5: expected an HDF5 file"):
        HeadDataset(folder, ["subject0000.h5"], SIZE)


def test_a_damaged_chunk_is_reported_when_it_is_read(folder: Path) -> None:
    path = folder / "xgaze_subject0000.h5"
    with h5py.File(path) as file:
        chunk = file["head_mask"].id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(raw)
    with pytest.raises(DataError, match="head_mask: expected readable data"):
        HeadDataset(folder, ["subject0000.h5"], SIZE)


def test_evaluation_only_files_say_what_training_needs(folder: Path) -> None:
    def change(file: h5py.File) -> None:
        for key in TRAINING_ONLY:
            del file[key]

    path = edit(folder, change)
    with pytest.raises(DataError, match=r"training needs facial_landmarks_3d, vertice, pose, scale.*columbia_"):
        HeadDataset(folder, ["subject0000.h5"], SIZE)
    assert len(SubjectFile(path, for_training=False)) == 4


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a data folder, found nothing"):
        HeadDataset(tmp_path / "nowhere", "train", SIZE)
    expected = (
        r"expected files columbia_subjectNNNN.h5, xgaze_subjectNNNN.h5, gaze_capture_subjectNNNNN.h5, .*, found none"
    )
    with pytest.raises(DataError, match=expected):
        HeadDataset(tmp_path, "train", SIZE)
    (tmp_path / "my_subject0000.h5").touch()
    with pytest.raises(DataError, match="found none but of other prefixes: my_"):
        HeadDataset(tmp_path, "train", SIZE)


def test_missing_subject_and_empty_split(folder: Path) -> None:
    with pytest.raises(DataError, match=r"subject0007.h5: expected a subject file, found nothing"):
        HeadDataset(folder, ["subject0007.h5"], SIZE)
    with pytest.raises(DataError, match="empty list"):
        HeadDataset(folder, "val", SIZE)
    with pytest.raises(DataError, match="one of the splits train, val"):
        HeadDataset(folder, "tset", SIZE)


@pytest.mark.parametrize(
    ("split", "empty", "instead"),
    [
        (None, "val", "no subject"),  # one subject alone is for training
        ({"train": [], "val": ["subject0000.h5"]}, "train", "no subject"),
        ({"train": ["subject0000.h5"], "val": ["subject0001.h5"]}, "val", "1 subjects without any"),
    ],
)
def test_check_fails_without_anybody_to_train_on_or_to_validate_with(folder: Path, split, empty, instead) -> None:
    if split is not None:
        (folder / "train_test_split.json").write_text(json.dumps(split))
    report = check_dataset(folder)
    assert not report.ok
    assert report.images == 3
    assert f"found {instead}" in report.problems[f"split {empty}"]
    assert [name for name in report.problems if name.startswith("split")] == [f"split {empty}"]

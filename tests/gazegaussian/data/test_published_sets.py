"""The four data sets of the published format: found by their names, read from the keys they have."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from fixtures_support import COMPACT

from gazegaussian.data import HeadDataset, check_dataset, load_split, redirection_pairs
from gazegaussian.data.published_sets import published_sets
from gazegaussian.data.schema import KEYS, TRAINING_ONLY, write_subject
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.errors import DataError

SIZE = 64
SETS = published_sets()
EVALUATION = [name for name, one in SETS.items() if one.evaluation_only]


def make(folder, name, subjects=2):
    """First validation subjects of a data set, written by our writer with the keys that the published files have."""
    source = SubjectFile(COMPACT / "xgaze_subject0000.h5")
    arrays = {key.name: source.read(key.name, slice(None)) for key in KEYS}
    if SETS[name].evaluation_only:
        arrays = {key: values for key, values in arrays.items() if key not in TRAINING_ONLY}
        arrays["c2w_Rmat"] = arrays["w2c_Rmat"].swapaxes(1, 2)
        arrays["inv_inmat"] = np.linalg.inv(arrays["inmat"])
    for subject in sorted(SETS[name].val)[:subjects]:
        write_subject(folder / f"{SETS[name].prefix}{SETS[name].file_name(subject)}", arrays)
    return folder


def test_subject_lists_have_the_published_sizes():
    sizes = {name: tuple(map(len, one.splits.values())) for name, one in SETS.items()}
    assert sizes == {"eth_xgaze": (80, 15), "columbia": (0, 56), "mpii_face_gaze": (0, 15), "gaze_capture": (0, 139)}
    assert not set(SETS["eth_xgaze"].train) & set(SETS["eth_xgaze"].val)
    assert SETS["gaze_capture"].splits["val"][0] == "subject00010.h5"
    assert all(len(set(one.val)) == len(one.val) for one in SETS.values())


@pytest.mark.parametrize("name", SETS)
def test_every_layout_is_found_checked_and_read_for_evaluation(tmp_path, name):
    make(tmp_path, name)
    report = check_dataset(tmp_path)
    assert report.data_set.startswith(SETS[name].title)
    assert report.data_set.endswith("(evaluation only)") == (name in EVALUATION)
    assert (report.subjects, report.images) == (2, 6)
    divided = name not in EVALUATION  # of the others nobody chooses by the people
    assert (report.splits["val"], report.splits["test"]) == ((1, 1) if divided else (2, 2))
    assert report.ok == (name in EVALUATION)  # of ETH-XGaze training subjects are missing here
    dataset = HeadDataset(tmp_path, "held_out", SIZE, for_training=False)
    assert len(dataset.keys) == 2
    assert dataset.posed == (name not in EVALUATION)
    batch = dataset.batch(list(redirection_pairs(dataset, 1)[0]))
    whole = HeadDataset(make(tmp_path / "whole", "eth_xgaze"), "held_out", SIZE).batch(batch.index.tolist())
    for field in ("image", "head_mask", "landmarks_2d"):
        assert torch.equal(getattr(batch, field), getattr(whole, field))
    for field in ("shape_code", "gaze"):
        assert torch.equal(getattr(batch.parameters, field), getattr(whole.parameters, field))
    assert torch.equal(batch.cameras.intrinsics, whole.cameras.intrinsics)
    if name in EVALUATION:
        assert batch.landmarks_3d.shape == (2, 0, 3)
        assert (batch.parameters.pose == 0).all()
        assert (batch.parameters.scale == 1).all()


@pytest.mark.parametrize("name", EVALUATION)
def test_what_upstream_preprocessing_writes_is_the_same_data(tmp_path, name):
    before = HeadDataset(make(tmp_path, name), "val", SIZE, for_training=False)
    expected = before[1]
    before.close()
    for path in tmp_path.glob("*.h5"):  # float64 and 306 latent columns
        with h5py.File(path, "r+") as file:
            for key in [key for key, stored in file.items() if stored.dtype == np.float32]:
                values = file[key][()].astype(np.float64)
                if key == "latent_codes":
                    values = np.pad(values[:, :144], ((0, 0), (0, 306 - 144)), constant_values=7.0)
                del file[key]
                file[key] = values
    sample = HeadDataset(tmp_path, "val", SIZE, cache=True, for_training=False)[1]
    for key, value in expected.items():
        assert sample[key].dtype == value.dtype
        assert torch.allclose(sample[key], value), key


def test_evaluation_only_sets_are_no_training_data(tmp_path):
    make(tmp_path, "columbia")
    with pytest.raises(DataError, match="ColumbiaGaze is for evaluation only"):
        HeadDataset(tmp_path, "train", SIZE)
    with pytest.raises(DataError, match="training needs facial_landmarks_3d"):
        HeadDataset(tmp_path, "val", SIZE)


def test_published_lists_hold_where_no_file_says_otherwise(tmp_path):
    make(tmp_path, "eth_xgaze", 3)
    shutil.copy(tmp_path / "xgaze_subject0012.h5", tmp_path / "xgaze_subject0000.h5")
    split = load_split(tmp_path)
    assert split == {
        "train": ["subject0000.h5"],
        "val": ["subject0022.h5"],
        "test": ["subject0012.h5", "subject0025.h5"],
    }
    (tmp_path / "train_test_split.json").write_text(
        json.dumps({"train": ["subject0012.h5"], "val": ["subject0000.h5"]})
    )
    assert load_split(tmp_path)["train"] == ["subject0012.h5"]


def test_an_evaluation_set_of_other_subjects_is_used_whole(tmp_path):
    make(tmp_path, "mpii_face_gaze", 1)
    shutil.copy(tmp_path / "mpii_subject0000.h5", tmp_path / "mpii_subject0099.h5")
    whole = ["subject0000.h5", "subject0099.h5"]
    assert load_split(tmp_path) == {"train": [], "val": whole, "test": whole}


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    make(make(tmp_path, "columbia"), "mpii_face_gaze")
    with pytest.raises(
        DataError, match=r"the files of one data set, found ColumbiaGaze \(columbia_\*.h5\), MPIIFaceGaze"
    ):
        check_dataset(tmp_path)

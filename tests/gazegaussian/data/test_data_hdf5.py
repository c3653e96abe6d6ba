"""The reader: agreement with the published loader where it is right, skipped images, resizing, caches."""

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fixtures_support import COMPACT, edit, published_fixtures, replace

from gazegaussian.build import open_dataset
from gazegaussian.data.check import check_dataset
from gazegaussian.data.hdf5 import HeadDataset, SubjectFile, collate, redirection_pairs, write_subject
from gazegaussian.data.pixels import erode
from gazegaussian.data.schema import KEYS
from gazegaussian.errors import DataError

SIZE = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the one compact subject (4 images, one of them unusable)."""
    shutil.copy(COMPACT / "xgaze_subject0000.h5", tmp_path)
    return tmp_path


def expected_samples(archive: Path, separator: str) -> dict[int, dict[str, np.ndarray]]:
    samples: dict[int, dict[str, np.ndarray]] = {}
    with np.load(archive) as arrays:
        for name in arrays:
            head, _, rest = name.partition(separator)
            if head[1:].isdigit() and head[0] == "s":
                value = arrays[name]
                samples.setdefault(int(head[1:]), {})[rest.replace(separator, "/")] = (
                    value / 255.0 if value.dtype == np.uint8 and value.ndim == 3 else value
                )
    return samples


def assert_parity(sample: dict, expected: dict[str, np.ndarray]) -> None:
    close = {"rtol": 0, "atol": 1e-4}
    for ours, theirs in (("head_mask", "face_mask"), ("left_eye_mask",) * 2, ("right_eye_mask",) * 2):
        np.testing.assert_array_equal(sample[ours].numpy(), expected[theirs])
    for ours, theirs in (("pose", "pose"), ("scale", "scale"), ("gaze", "pitchyaw")):
        np.testing.assert_allclose(sample[ours], expected[f"para/{theirs}"], **close)
    np.testing.assert_allclose(sample["shape_code"][:64], expected["para/expr_code"], **close)
    np.testing.assert_allclose(sample["shape_code"][64:], expected["para/iden_code"], **close)
    np.testing.assert_allclose(sample["landmarks_2d"], expected["ldms"], **close)
    extrinsics = torch.cat([sample["rotation"], sample["translation"][:, None]], 1)
    np.testing.assert_allclose(extrinsics, expected["para/extrinsics"], **close)
    # The published loader normalises the intrinsics to [-1, 1].
    normalised = sample["intrinsics"].numpy() * 2 / sample["image"].shape[-1]
    np.testing.assert_allclose(normalised[0, 0], expected["para/intrinsics"][0, 0], **close)
    np.testing.assert_allclose(normalised[0, 2] - 1, expected["para/intrinsics"][0, 2], **close)
    np.testing.assert_allclose(normalised[1, 2] - 1, expected["para/intrinsics"][1, 2], **close)
    if "image" in expected:  # theirs keeps the background, ours is white outside the head
        head = sample["head_mask"].numpy()
        np.testing.assert_allclose(sample["image"].numpy() * head, expected["image"] * head, **close)
        assert (sample["image"].numpy()[:, head[0] == 0] == 1).all()


def test_parity_with_the_published_loader_compact(folder: Path) -> None:
    dataset = HeadDataset(folder, ["subject0000.h5"], SIZE)
    expected = expected_samples(COMPACT / "h5_expected_subject0000.npz", ".")
    assert [dataset.location(i)[1] for i in range(len(dataset))] == sorted(expected) == [0, 1, 3]
    for sample, want in zip((dataset[i] for i in range(3)), (expected[k] for k in (0, 1, 3)), strict=True):
        assert_parity(sample, want)


def test_parity_with_the_published_loader_all() -> None:
    root = published_fixtures()
    expected = expected_samples(root / "h5_expected.npz", "/")
    size = next(iter(expected.values()))["face_mask"].shape[-1]
    dataset = HeadDataset(root / "h5", "train", size)
    assert len(dataset) == len(expected)
    for i, row in enumerate(sorted(expected)):
        assert_parity(dataset[i], expected[row])


def test_landmarks_use_the_true_inverse_where_the_published_code_does_not(folder: Path) -> None:
    dataset = HeadDataset(folder, ["subject0000.h5"], SIZE)
    expected = expected_samples(COMPACT / "h5_expected_subject0000.npz", ".")
    file = SubjectFile(folder / "xgaze_subject0000.h5")
    differs = []
    for i in range(3):
        row = dataset.location(i)[1]
        rotation = file.read("w2c_Rmat", row).astype(float)
        shift = file.read("w2c_Tvec", row).astype(float)
        camera = np.concatenate([file.read("facial_landmarks_3d", row), file.read("vertice", row)[::100]]).astype(float)
        ours = dataset[i]["landmarks_3d"].numpy()
        np.testing.assert_allclose(ours @ rotation.T + shift, camera, atol=1e-5)  # back to where they came from
        published = (camera - shift) @ rotation.T
        np.testing.assert_allclose(published, expected[row]["ldms_3d"], atol=1e-4)
        differs.append(np.abs(ours - published).max() > 1e-2)
    assert differs == [False, True, True]  # the first camera's rotation is symmetric


def test_landmarks_project_to_their_pixels(folder: Path) -> None:
    dataset = HeadDataset(folder, ["subject0000.h5"], 32)
    sample = dataset[1]
    camera = sample["landmarks_3d"][:68] @ sample["rotation"].T + sample["translation"]
    pixels = (camera @ sample["intrinsics"].T)[:, :2] / camera[:, 2:] - 0.5
    stored = SubjectFile(folder / "xgaze_subject0000.h5").read("facial_landmarks", 1)
    assert torch.allclose(sample["landmarks_2d"], torch.from_numpy((stored + 0.5) / 2 - 0.5), atol=1e-4)
    assert (pixels - sample["landmarks_2d"]).abs().max() < 0.6  # the fixture's own landmarks are rounded


def test_resize_is_by_area_and_keeps_masks_binary(folder: Path) -> None:
    full, half = (HeadDataset(folder, ["subject0000.h5"], size)[0] for size in (SIZE, SIZE // 2))
    pooled = torch.nn.functional.avg_pool2d(full["image"], 2)
    assert (half["image"] - pooled).abs().max() <= 0.5 / 255 + 1e-6
    assert set(half["head_mask"].unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(half["intrinsics"][:2], full["intrinsics"][:2] / 2)
    assert half["intrinsics"][2].tolist() == [0, 0, 1]


def test_erosion_keeps_what_is_two_pixels_inside() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (12, 17)).astype(np.uint8) * 255
    mask[3:, :9] = 255
    padded = np.pad(mask, 2, constant_values=255)
    slow = [[padded[y : y + 5, x : x + 5].min() for x in range(17)] for y in range(12)]
    np.testing.assert_array_equal(erode(mask), slow)
    assert 0 < (erode(mask) == 255).sum() < (mask == 255).sum()


def test_a_rewritten_file_is_indexed_anew(folder: Path) -> None:
    before = HeadDataset(folder, ["subject0000.h5"], SIZE)
    before.close()
    edit(folder, lambda file: file["head_mask"].__setitem__(0, np.zeros((SIZE, SIZE), np.uint8)))
    assert len(HeadDataset(folder, ["subject0000.h5"], SIZE)) == len(before) - 1


def test_memory_cache_changes_nothing(folder: Path) -> None:
    for size in (SIZE, 40):
        plain, cached = (HeadDataset(folder, ["subject0000.h5"], size, cache=flag) for flag in (False, True))
        for i in range(len(plain)):
            for key, value in plain[i].items():
                assert torch.equal(value, cached[i][key]), key


def test_the_next_training_of_a_process_finds_the_data_decoded_unless_a_file_has_changed(folder: Path) -> None:
    first = open_dataset(folder, "train", SIZE)
    assert open_dataset(folder, "train", SIZE) is first
    assert open_dataset(folder, "train", 40) is not first
    edit(folder, lambda file: file["head_mask"].__setitem__(0, np.zeros((SIZE, SIZE), np.uint8)))
    assert len(open_dataset(folder, "train", SIZE)) == len(first) - 1


def test_a_data_set_too_big_for_the_cache_says_so(folder: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("gazegaussian.data.hdf5._CACHE_LIMIT", 1000)
    dataset = HeadDataset(folder, ["subject0000.h5"], SIZE, cache=True)
    assert "not cached" in caplog.text
    assert dataset[0]["image"].shape == (3, SIZE, SIZE)


def test_images_with_constant_masks_are_skipped_and_counted(folder: Path, caplog) -> None:
    def change(file: h5py.File) -> None:
        file["left_eye_mask"][0] = 0  # one eye hidden is fine
        file["left_eye_mask"][1] = 0
        file["right_eye_mask"][1] = 255  # constant, though not empty

    edit(folder, change)
    dataset = HeadDataset(folder, ["subject0000.h5"], SIZE)
    assert [dataset.location(i)[1] for i in range(len(dataset))] == [0, 3]
    assert dataset.skipped == 2
    assert "skipped 2 images" in caplog.text
    dataset.close()

    edit(folder, lambda file: file["head_mask"].write_direct(np.zeros((4, SIZE, SIZE), np.uint8)))
    with pytest.raises(DataError, match="usable images"):
        HeadDataset(folder, ["subject0000.h5"], SIZE)


def test_float64_and_wider_codes_are_accepted(folder: Path) -> None:
    before = HeadDataset(folder, ["subject0000.h5"], SIZE)[0]

    def change(file: h5py.File) -> None:
        for key in ("vertice", "pose", "scale", "w2c_Rmat", "latent_codes", "facial_landmarks_3d"):
            replace(file, key, file[key][()].astype(np.float64))
        replace(file, "latent_codes", file["latent_codes"][:, :144])

    edit(folder, change)
    after = HeadDataset(folder, ["subject0000.h5"], SIZE)[0]
    for key, value in before.items():
        assert value.dtype == after[key].dtype
        assert torch.allclose(value, after[key])


def test_max_images_and_split_by_file_name(folder: Path) -> None:
    dataset = HeadDataset(folder, ["xgaze_subject0000.h5"], SIZE, max_images=2)
    assert dataset.keys == ["subject0000.h5"]
    assert [dataset.location(i)[1] for i in range(len(dataset))] == [0, 1]
    batch = collate([dataset[0], dataset[1]])
    assert batch.image.shape == (2, 3, SIZE, SIZE)
    assert batch.cameras.width == SIZE
    assert batch.index.tolist() == [0, 1]
    assert batch.landmarks_3d.shape == (2, 68 + 13, 3)


def test_writer_and_reader_agree(folder: Path, tmp_path: Path) -> None:
    file = SubjectFile(folder / "xgaze_subject0000.h5")
    arrays = {key.name: file.read(key.name, slice(None)) for key in KEYS}
    arrays["pose"] = arrays["pose"].astype(np.float64)
    out = tmp_path / "out" / "xgaze_subject0001.h5"
    write_subject(out, arrays, {"note": "copy"})
    copy = SubjectFile(out)
    for key, values in arrays.items():
        stored = copy.read(key, slice(None))
        assert stored.dtype == (np.uint8 if values.dtype == np.uint8 else np.float32)
        np.testing.assert_array_equal(stored, values.astype(stored.dtype))
    assert list(out.parent.iterdir()) == [out]
    with pytest.raises(DataError, match="head_mask"):
        write_subject(out, {k: v for k, v in arrays.items() if k != "head_mask"})
    with pytest.raises(DataError, match="one leading dimension"):
        write_subject(out, {**arrays, "scale": arrays["scale"][:2]})


def test_data_set_survives_pickling_with_open_files(folder: Path) -> None:
    dataset = HeadDataset(folder, ["subject0000.h5"], SIZE)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1]["image"], dataset[1]["image"])


def test_redirection_pairs_stay_with_the_subject_and_change_the_gaze(folder: Path) -> None:
    shutil.copy(folder / "xgaze_subject0000.h5", folder / "xgaze_subject0001.h5")
    dataset = HeadDataset(folder, ["subject0000.h5", "subject0001.h5"], SIZE)
    pairs = redirection_pairs(dataset, 5, seed=1)
    assert pairs == redirection_pairs(dataset, 5, seed=1)
    assert pairs != redirection_pairs(dataset, 5, seed=2)
    assert [dataset.subjects[source] for source, _ in pairs] == [0] * 5 + [1] * 5
    for source, target in pairs:
        assert dataset.subjects[source] == dataset.subjects[target]
        assert np.abs(dataset.gaze[source] - dataset.gaze[target]).max() > 1e-3


def test_report_counts_and_collects_problems(folder: Path) -> None:
    shutil.copy(folder / "xgaze_subject0000.h5", folder / "xgaze_subject0001.h5")
    split = {"train": ["subject0000.h5"], "val": ["subject0001.h5"]}
    (folder / "train_test_split.json").write_text(json.dumps(split))
    report = check_dataset(folder)
    assert (report.subjects, report.images, report.skipped, report.sizes, report.ok) == (2, 6, 2, (SIZE,), True)
    (folder / "xgaze_subject0009.h5").write_bytes(b"nothing")
    report = check_dataset(folder)
    assert not report.ok
    assert list(report.problems) == ["xgaze_subject0009.h5"]
    assert "expected an HDF5 file" in report.problems["xgaze_subject0009.h5"]

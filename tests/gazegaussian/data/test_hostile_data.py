"""Hostile subject files: an error of one line or a right reading, whatever is in them; nothing outside the file is read."""

import h5py
import numpy as np
import pytest
from fixtures_support import COMPACT, replace
from hostile_support import assert_harmless, assert_refused, mutations

from gazegaussian.data.check import check_dataset
from gazegaussian.data.hdf5 import HeadDataset
from gazegaussian.data.schema import KEYS

NAME = "xgaze_subject0000.h5"
SIZE = 64


def read(path):
    check_dataset(path.parent)  # names problems, raises nothing
    dataset = HeadDataset(path.parent, [path.name], SIZE, cache=True)
    dataset.batch(range(len(dataset)))
    dataset.close()


@pytest.fixture
def path(tmp_path):
    """The compact subject (4 images of 64 px) in a folder of its own, and another one beside the folder."""
    for folder in (tmp_path, tmp_path / "data"):
        folder.mkdir(exist_ok=True)
        (folder / NAME).write_bytes((COMPACT / NAME).read_bytes())
    return tmp_path / "data" / NAME


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def put(key, value):
    def change(file):
        del file[key]
        file[key] = value

    return change


def outside_group(file):
    file["elsewhere"] = h5py.ExternalLink(f"../{NAME}", "/")
    put("pose", h5py.SoftLink("/elsewhere/pose"))(file)


def virtual(file):
    layout = h5py.VirtualLayout((4, 6), np.float32)
    layout[:] = h5py.VirtualSource(f"../{NAME}", "pose", (4, 6))
    del file["pose"]
    file.create_virtual_dataset("pose", layout)


def raw(file):
    del file["head_mask"]
    file.create_dataset("head_mask", (4, SIZE, SIZE), np.uint8, external=[("/etc/passwd", 0, 4 * SIZE * SIZE)])


def references(file):
    del file["pose"]
    file.create_dataset("pose", (4, 6), h5py.ref_dtype)


def strings(file):
    put("pitchyaw_head", np.array([["a", "b"]] * 4, object).astype(h5py.string_dtype()))(file)


def endless(file):
    """Ten million images, none of them stored."""
    for key in KEYS:
        shape = file[key.name].shape[1:]
        kind = file[key.name].dtype
        del file[key.name]
        file.create_dataset(key.name, (10_000_000, *shape), kind, chunks=(1, *shape), compression="gzip")


def one_chunk(file):
    del file["vertice"]
    file.create_dataset("vertice", (4, 100, 3), np.float32, chunks=(4, 1 << 24, 3), maxshape=(None, None, 3))


def many_names(file):
    for number in range(3000):
        file.create_group(f"line\nbreak \x1b[31m {number}")
    del file["pose"]


def number(key, value):
    def change(file):
        values = file[key][:]
        values.reshape(4, -1)[:, 0] = value
        put(key, values)(file)

    return change


ELSEWHERE = [
    put("pose", h5py.ExternalLink(f"../{NAME}", "/pose")),
    put("cam_index", h5py.ExternalLink(f"../{NAME}", "/cam_index")),
    put("pose", h5py.ExternalLink("/dev/zero", "/pose")),
    put("pose", h5py.SoftLink("/pose")),
    outside_group,
    virtual,
    raw,
]
OTHER = [
    (put("pose", h5py.Empty("f")), "pose"),
    (put("pose", np.dtype("f4")), "pose: expected a data set"),
    (lambda f: (f.__delitem__("pose"), f.create_group("pose")), "pose: expected a data set"),
    (references, "pose: expected floating point"),
    (strings, "pitchyaw_head: expected floating point"),
    (lambda f: replace(f, "pose", np.zeros((4, 6), complex)), "pose: expected floating point"),
    (lambda f: replace(f, "head_mask", np.ones((4, SIZE, SIZE), bool)), "head_mask: expected uint8"),
    (endless, "expected values for the shapes that it declares"),
    (one_chunk, "vertice: expected chunks"),
    (many_names, "expected the keys pose"),
    (number("pose", np.nan), "pose: expected finite numbers"),
    (number("pitchyaw_head", np.inf), "pitchyaw_head: expected finite numbers"),
    (number("vertice", np.nan), "vertice: expected finite numbers"),
]


def ids(cases):
    return [f"{index}" for index in range(len(cases))]


@pytest.mark.parametrize("change", ELSEWHERE, ids=ids(ELSEWHERE))
def test_values_outside_the_file_are_never_read(path, change):
    edit(path, change)
    assert_refused(
        read, path, NAME, "reads other files" if change in (virtual, raw) else "expected a data set of this file"
    )


@pytest.mark.parametrize(("change", "message"), OTHER, ids=ids(OTHER))
def test_what_cannot_be_trained_with_is_named(path, change, message):
    edit(path, change)
    assert_refused(read, path, NAME, message)


def test_mutated_files_are_read_or_refused(path):
    good = path.read_bytes()
    for bad in mutations(good):
        path.write_bytes(bad)
        assert_harmless(read, path)


@pytest.mark.parametrize(
    "split", ['{"train": ["../../etc/passwd"], "val": []}', '{"train": ["a\\u0000b"], "val": []}', "[" * 100_000]
)
def test_a_split_names_files_of_its_folder_only(path, split):
    (path.parent / "train_test_split.json").write_text(split)
    assert_refused(lambda path: HeadDataset(path.parent, "train", SIZE), path, "train_test_split.json")

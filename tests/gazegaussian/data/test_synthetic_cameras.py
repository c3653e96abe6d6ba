"""Which cameras see a synthetic frame, and the processes that make many people."""

import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest

from gazegaussian.config import MeshHeadRun, with_parameters
from gazegaussian.data import HeadDataset, ensure_synthetic, synthesize
from gazegaussian.data.synthetic import pool
from gazegaussian.data.synthetic.generator import SyntheticSettings, render_person
from gazegaussian.data.synthetic.rig import CAMERAS, chosen_cameras, rig_camera
from gazegaussian.errors import ConfigError, DataError
from gazegaussian.utils.cores import available_cores

SMALL = SyntheticSettings(people=4, size=32, seed=4, frames=1, cameras=2)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 18])
def test_every_camera_is_chosen_equally_often_and_once_a_frame(count):
    """In any 18 frames that follow each other from a multiple of 18."""
    for start in (0, 90):
        frames = [chosen_cameras(0, frame, count) for frame in range(start, start + CAMERAS)]
        assert all(len(set(frame)) == count and frame == sorted(frame) for frame in frames)
        assert Counter(camera for frame in frames for camera in frame) == dict.fromkeys(range(CAMERAS), count)


def test_another_person_and_another_seed_are_seen_by_other_cameras():
    assert len({tuple(chosen_cameras(0, frame, 2)) for frame in range(CAMERAS)}) == CAMERAS // 2
    assert [chosen_cameras(0, frame, 2) for frame in range(9)] != [chosen_cameras(1, frame, 2) for frame in range(9)]


def angle_between(one, other):
    """Degrees between the viewing directions of two cameras."""
    cosine = rig_camera(one).rotation[2] @ rig_camera(other).rotation[2]
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_two_cameras_of_a_frame_see_the_head_from_different_sides():
    everywhere = [angle_between(*pair) for pair in combinations(range(CAMERAS), 2)]
    chosen = [angle_between(*chosen_cameras(0, frame, 2)) for frame in range(CAMERAS)]
    assert min(chosen) > 20
    assert np.mean(chosen) > np.mean(everywhere)


def test_identity_gaze_and_pose_do_not_depend_on_the_cameras():
    few, many = (render_person(SyntheticSettings(1, 16, 3, frames=2, cameras=count), 0) for count in (1, 3))
    for key in ("latent_codes", "pitchyaw_head", "pose", "scale"):
        assert (few[key] == many[key][::3]).all(), key


def test_the_configuration_asks_for_cameras(tmp_path):
    """What a run configuration says reaches the files, and other numbers of cameras have a folder of their own."""
    from gazegaussian.build import resolve_data

    sizes = {"people": 2, "frames": 1, "image_size": 32, "cache": str(tmp_path)}
    one, two = (resolve_data(with_parameters(MeshHeadRun(), {**sizes, "cameras": count})) for count in (1, 2))
    assert (len(HeadDataset(one, "train", 32)), len(HeadDataset(two, "train", 32))) == (1, 2)
    assert one.name.replace("_c1", "_c2") == two.name
    assert MeshHeadRun().data.cameras == CAMERAS
    with pytest.raises(ConfigError, match="cameras"):
        with_parameters(MeshHeadRun(), {"cameras": CAMERAS + 1})


def contents(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    arrays = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            arrays[path.name] = {key: file[key][()] for key in file}
    return arrays


@pytest.fixture
def two_cores(monkeypatch):
    """Several processes also where a test machine has one core."""
    monkeypatch.setattr(pool, "available_cores", lambda: 2)


@pytest.mark.usefixtures("two_cores")
def test_two_processes_make_what_one_makes_and_complete_what_was_interrupted(tmp_path):
    here = synthesize(tmp_path / "here", SMALL, progress=False, workers=0)
    there = synthesize(tmp_path / "there", SMALL, progress=False, workers=0)
    kept = there / "xgaze_subject0000.h5"
    stamp = kept.stat().st_mtime_ns
    for number in (1, 2):
        (there / f"xgaze_subject000{number}.h5").unlink()
    torn = there / "xgaze_subject0003.h5"
    torn.write_bytes(torn.read_bytes()[:1000])
    synthesize(there, SMALL, progress=False, workers=2)
    assert kept.stat().st_mtime_ns == stamp
    expected = contents(here)
    made = contents(there)
    assert expected.keys() == made.keys()
    for name, arrays in expected.items():
        assert all(np.array_equal(values, made[name][key]) for key, values in arrays.items()), name
    assert {path.name for path in there.glob(".*")} <= {".making.lock"}, "temporary files are left"


@pytest.mark.usefixtures("two_cores")
def test_a_process_that_dies_is_one_line_and_the_rest_is_kept(tmp_path, monkeypatch):
    """As the kernel kills it for lack of memory."""
    started = []
    true_popen = subprocess.Popen

    def popen(*args, **settings):
        started.append(true_popen(*args, **settings))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", popen)
    settings = SyntheticSettings(8, 32, 4, frames=1, cameras=2)
    made = pool.make_people(tmp_path, vars(settings), range(8), 2)
    with pytest.raises(DataError, match=r"was killed by signal 9.*the same command completes"):  # noqa: PT012
        for number, _ in enumerate(made):
            if number == 0:
                started[0].kill()
                started[1].kill()
    assert all(process.poll() is not None for process in started)
    assert contents(tmp_path)  # what was written is whole


@pytest.mark.usefixtures("two_cores")
def test_an_error_of_a_process_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        list(pool.make_people(tmp_path / "file", vars(SyntheticSettings(2, 16, frames=1, cameras=1)), [0, 1], 2))


def test_an_unguarded_script_may_make_heads(tmp_path):
    """`multiprocessing` would run such a script once more in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        "from gazegaussian.data import SyntheticSettings, synthesize\n"
        "from gazegaussian.data.synthetic import pool\n"
        "pool.available_cores = lambda: 2\n"
        f"synthesize({str(tmp_path / 'heads')!r}, SyntheticSettings(2, 16, frames=1, cameras=1), workers=2)\n"
        "print('once')\n"
    )
    root = Path(pool.__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout == "once\n"
    assert len(list((tmp_path / "heads").glob("*.h5"))) == 2


def test_never_more_processes_than_cores_and_none_where_they_do_not_pay(monkeypatch):
    monkeypatch.setattr(pool, "available_cores", lambda: 3)
    assert pool.processes_for(200, 4, 128) == 3
    assert pool.processes_for(200, 4, 128, wanted=64) == 3
    assert pool.processes_for(2, 1, 512, wanted=8) == 2
    assert pool.processes_for(2, 4, 32) == 0  # a second's work
    assert pool.processes_for(200, 4, 128, wanted=0) == 0
    monkeypatch.setattr(pool, "available_cores", lambda: 1)
    assert pool.processes_for(9999, 36, 512) == 0


def test_cores_are_those_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7, 9}, raising=False)
    assert available_cores(tmp_path) == 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == 4
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert available_cores(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path) == 1


def test_the_default_data_set_is_made_once(tmp_path, caplog):
    ensure_synthetic(tmp_path, replace(SMALL, people=2), progress=False)
    with caplog.at_level(logging.INFO):
        ensure_synthetic(tmp_path, replace(SMALL, people=2), progress=False)
    assert "Generating" not in caplog.text

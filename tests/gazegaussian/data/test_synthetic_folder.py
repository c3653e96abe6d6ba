"""Generating into a folder that is not empty, and how progress is shown."""

import io
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gazegaussian.data import HeadDataset, SyntheticSettings, load_split, synthesize
from gazegaussian.data.synthetic import dataset as dataset_module
from gazegaussian.data.synthetic.generator import GENERATOR_VERSION
from gazegaussian.errors import DataError
from gazegaussian.utils import progress as progress_module
from gazegaussian.utils.progress import progress

SETTINGS = SyntheticSettings(people=2, size=32, seed=3, frames=1, cameras=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("heads"), SETTINGS, progress=False)


def state(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()}


def test_the_same_settings_again_have_nothing_to_do(made, caplog):
    before = {name: s for name, s in state(made).items() if name.endswith(".h5")}
    with caplog.at_level(logging.INFO):
        synthesize(made, SETTINGS, progress=False)
    assert "nothing to do" in caplog.text
    assert {name: s for name, s in state(made).items() if name.endswith(".h5")} == before


@pytest.mark.parametrize(
    ("name", "value", "difference"),
    [("size", 64, "size: 32 -> 64"), ("seed", 4, "seed: 3 -> 4"), ("people", 3, "people: 2 -> 3"),
     ("people", 1, "people: 2 -> 1"), ("frames", 2, "frames: 1 -> 2")],
)  # fmt: skip
def test_heads_of_other_settings_are_not_mixed(made, name, value, difference):
    before = state(made)
    with pytest.raises(DataError, match=rf"found 2 heads of others \({difference}\); give another folder"):
        synthesize(made, replace(SETTINGS, **{name: value}), progress=False)
    assert state(made) == before


def test_an_unfinished_folder_of_more_people_is_not_cut(made, tmp_path):
    for file in made.glob("*.h5"):
        (tmp_path / file.name).write_bytes(file.read_bytes())  # no synthetic.json: it was never finished
    with pytest.raises(DataError, match="people: more than 1 -> 1"):
        synthesize(tmp_path, replace(SETTINGS, people=1), progress=False)
    synthesize(tmp_path, replace(SETTINGS, people=3), progress=False)
    assert sum(map(len, (load_split(tmp_path)[split] for split in ("train", "val")))) == 3


def test_somebody_elses_files_are_not_mixed(tmp_path):
    (tmp_path / "xgaze_subject0042.h5").write_bytes(b"a real person")
    with pytest.raises(DataError, match=r"found 1 other files \(xgaze_subject0042.h5\)"):
        synthesize(tmp_path, SETTINGS, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["xgaze_subject0042.h5"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("xgaze_subject0000.h5", b"a real person"),
        ("train_test_split.json", b'{"train": ["mine"]}'),
        ("synthetic.json", b"[1, 2]"),
        ("synthetic.json", b'{"notes": "of another program"}'),
    ],
)
def test_somebody_elses_files_under_our_names_stay(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"found 1 other files \({name}\)"):
        synthesize(tmp_path, SETTINGS, progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: content}


def test_a_folder_of_something_else_stays_as_it_is(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(DataError, match=r"found 2 other files \(notes.md\); give another folder"):
        synthesize(tmp_path, SETTINGS, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", "runs"]


@pytest.mark.parametrize("name", ["xgaze_subject0000.h5", "train_test_split.json", "synthetic.json"])
def test_links_under_our_names_stay(made, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "heads"
    folder.mkdir()
    for file in made.glob("*1.h5"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / name).symlink_to(victim)
    with pytest.raises(DataError, match=rf"found 1 other files \({name}\)"):
        synthesize(folder, SETTINGS, progress=False)
    assert (folder / name).is_symlink()
    assert victim.read_bytes() == b"precious"


def test_what_is_no_lock_is_not_emptied(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for place in (lambda path: path.symlink_to(victim), lambda path: path.write_bytes(b"precious"), os.mkfifo):
        (tmp_path / "heads").mkdir(exist_ok=True)
        lock = tmp_path / "heads" / ".making.lock"
        place(lock)
        with pytest.raises(DataError, match=r"making.lock: expected an empty lock file or nothing"):
            synthesize(tmp_path / "heads", SETTINGS, progress=False)
        assert [path.name for path in (tmp_path / "heads").iterdir()] == [".making.lock"]
        lock.unlink()
    assert victim.read_bytes() == b"precious"


def test_a_head_that_was_cut_off_is_made_anew(made, tmp_path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "xgaze_subject0001.h5").write_bytes((made / "xgaze_subject0001.h5").read_bytes()[:100])
    synthesize(tmp_path, SETTINGS, progress=False)
    assert (tmp_path / "xgaze_subject0001.h5").stat().st_size == (made / "xgaze_subject0001.h5").stat().st_size


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watch(monkeypatch, caplog, stream, seconds, **settings):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", seconds)
    with caplog.at_level(logging.INFO):
        passed = list(progress("abc", "letters", **settings))
    return passed, stream.getvalue(), caplog.messages


def test_without_a_terminal_progress_is_plain_lines(monkeypatch, caplog):
    passed, drawn, lines = watch(monkeypatch, caplog, io.StringIO(), 0.0, total=5, done=2)
    assert (passed, drawn) == (["a", "b", "c"], "")
    assert lines == ["letters: 3 of 5", "letters: 4 of 5", "letters: 5 of 5"], "no forecast from a moment"


def test_lines_come_now_and_then_only(monkeypatch, caplog):
    assert watch(monkeypatch, caplog, io.StringIO(), 3600.0)[2] == []


def test_on_a_terminal_progress_is_a_bar(monkeypatch, caplog):
    passed, drawn, lines = watch(monkeypatch, caplog, Terminal(), 0.0)
    assert (passed, lines) == (["a", "b", "c"], [])
    assert "letters: 100%" in drawn


def test_progress_can_be_silent(monkeypatch, caplog):
    assert watch(monkeypatch, caplog, Terminal(), 0.0, show=False)[1:] == ("", [])


def test_long_generation_says_how_far_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO):
        synthesize(tmp_path, SETTINGS)
    assert [line.partition(",")[0] for line in caplog.messages if "of 2" in line] == [
        "synthetic heads: 1 of 2",
        "synthetic heads: 2 of 2",
    ]


def test_a_file_is_no_folder_for_heads(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(DataError, match=r"README\.md is a file, expected a folder"):
        synthesize(tmp_path / "README.md", SETTINGS, progress=False)


def test_workers_that_share_a_terminal_draw_no_bars(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(progress(range(3), "heads")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_test_people_of_a_folder_that_a_user_named_are_kept_elsewhere(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    monkeypatch.setenv("GAZEGAUSSIAN_CACHE", str(tmp_path / "cache"))
    synthesize(mine, replace(SETTINGS, test_people=2), progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in mine.iterdir()}
    dataset = HeadDataset(mine, "test", SETTINGS.size)
    assert list(dataset.keys) == ["subject10000.h5", "subject10001.h5"]
    assert {path.name: path.stat().st_mtime_ns for path in mine.iterdir()} == before
    (made,) = (tmp_path / "cache").iterdir()
    assert made.name == f"synthetic_test_v{GENERATOR_VERSION}_s{SETTINGS.size}_seed{SETTINGS.seed}"
    written = {path: path.stat().st_mtime_ns for path in made.glob("*.h5")}
    assert len(written) == 2
    other = synthesize(tmp_path / "other", replace(SETTINGS, test_people=2), progress=False)
    assert len(HeadDataset(other, "test", SETTINGS.size)) == len(dataset)
    assert {path: path.stat().st_mtime_ns for path in made.glob("*.h5")} == written, "made once for all of a seed"


def test_two_makers_of_the_same_heads_share_the_work(tmp_path, monkeypatch, caplog):
    made = []
    write = dataset_module.write_person

    def counted(out, settings, person):
        made.append(person)
        time.sleep(0.2)  # the other one would begin the same person
        write(out, settings, person)

    monkeypatch.setattr(dataset_module, "write_person", counted)
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: synthesize(tmp_path / "heads", SETTINGS, progress=False, workers=0), range(2)))
    assert sorted(made) == list(range(SETTINGS.people))
    assert any("waiting for another process" in line for line in caplog.messages)

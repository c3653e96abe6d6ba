"""A study keeps its people: files that come or go afterwards would turn people who trained into test people."""

from dataclasses import replace

import pytest
from study_support import run_study, spec

from gazegaussian.config import MeshHeadRun
from gazegaussian.data import people_of
from gazegaussian.errors import ConfigError
from helpers import load_study
from helpers.analysis.confirm import confirm_study
from helpers.results.attributes import PEOPLE
from helpers.study.people import groups_of


def subjects(folder, numbers):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"xgaze_subject{number:04d}.h5").touch()
    return folder


def on(folder):
    return MeshHeadRun(data={"root": folder})


def asked_on(tmp_path, folder, trials=6):
    return replace(spec(tmp_path, trials=trials), config=on(folder))


def test_groups_are_stored_and_a_new_subject_that_shifts_them_is_rejected(tmp_path):
    data = subjects(tmp_path / "data", range(1, 21))
    asked = asked_on(tmp_path, data)
    study = run_study(asked)
    before = people_of(data)
    assert study.user_attrs[PEOPLE] == {
        "train": list(before.train),
        "val": list(before.val),
        "test": list(before.test),
    }
    subjects(data, [0])
    assert set(people_of(data).test) & set(before.train), "without this there is nothing to guard"
    with pytest.raises(ConfigError, match=r"created with other people: new in train: subject.*Restore the files"):
        run_study(asked_on(tmp_path, data, trials=9))
    with pytest.raises(ConfigError, match="created with other people"):
        confirm_study(asked, top=1, seeds=2)
    assert len(load_study(asked.folder).trials) == len(study.trials)
    (data / "xgaze_subject0000.h5").unlink()
    assert len(run_study(asked_on(tmp_path, data, trials=9)).trials) == 9


def test_the_same_people_in_another_folder_go_on(tmp_path):
    run_study(asked_on(tmp_path, subjects(tmp_path / "a", range(1, 11))))
    moved = subjects(tmp_path / "b", range(1, 11))
    assert len(run_study(asked_on(tmp_path, moved, trials=7)).trials) == 7


def test_synthetic_heads_and_files_of_another_kind_have_no_groups(tmp_path):
    assert PEOPLE not in run_study(spec(tmp_path / "studies", trials=1)).user_attrs
    (tmp_path / "data.npz").touch()
    assert groups_of(tmp_path) is None
    assert groups_of(tmp_path / "data.npz") is None

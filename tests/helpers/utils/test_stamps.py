"""How code and angles are named in reports and captions."""

import subprocess

import numpy as np
import pytest

from helpers.utils import environment
from helpers.utils.formatting import signed_degrees


def test_a_notebook_that_was_saved_is_no_local_change_and_code_is(tmp_path, monkeypatch):
    def git(*args):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path, *args], check=True)

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "IN_REPOSITORY", True)
    files = [tmp_path / "notebooks" / "01.ipynb", tmp_path / "helpers.py"]
    git("init", "-q")
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("as committed")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = environment.git_commit()
    assert len(commit) == 12
    files[0].write_text("saved with outputs")
    assert environment.git_commit() == commit
    files[1].write_text("changed")
    assert environment.git_commit() == f"{commit} with local changes"


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_a_small_negative_angle_is_not_minus_zero(kind):
    assert [signed_degrees(kind(angle)) for angle in (-0.4, 0.4, -12.6, 7.0)] == ["+0°", "+0°", "-13°", "+7°"]

"""The set-up cell, with a stand-in for the Colab modules and for pip."""

import runpy
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from helpers.utils import runtime as colab


@pytest.fixture
def in_colab(tmp_path, monkeypatch):
    """A runtime with `google.colab`; its Drive mounts, or fails with the text in `reject`."""
    package = tmp_path / "dist-packages" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "drive.py").write_text(
        "from pathlib import Path\nrefuse, mounts = None, []\n"
        "def mount(place):\n"
        "    mounts.append(place)\n"
        "    if reject: raise ValueError(reject)\n"
        "    (Path(place) / 'MyDrive').mkdir(parents=True)\n"
    )
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "dist-packages")
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    drive = colab.importlib.import_module("google.colab.drive")
    yield drive
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        del sys.modules[name]


@pytest.fixture
def elsewhere(monkeypatch):
    for name in ("COLAB_NOTEBOOK_ID", "VSCODE_PID", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)


def shell(monkeypatch, **names):
    monkeypatch.setattr(colab, "_shell", lambda: SimpleNamespace(user_ns=names))


def test_colab_is_recognised_in_the_browser_and_from_vs_code(in_colab, monkeypatch):
    assert colab.place() == "Colab"
    monkeypatch.delenv("COLAB_NOTEBOOK_ID")
    assert colab.place() == "Colab from VS Code"


def test_other_places_are_told_apart(elsewhere, monkeypatch):
    monkeypatch.setattr(colab, "_shell", lambda: None)
    assert (colab.place(), colab.has_front_end()) == ("Python", False)
    shell(monkeypatch)
    assert (colab.place(), colab.has_front_end()) == ("Jupyter", False), "a program executes the notebook"
    monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
    assert (colab.place(), colab.has_front_end()) == ("Jupyter", True)
    shell(monkeypatch, __vsc_ipynb_file__="01.ipynb")
    assert colab.place() == "VS Code"


def test_drive_is_mounted_once(in_colab, capsys):
    first = colab.study_folder(True)
    assert first == colab.study_folder(True)
    assert first.is_dir()
    assert in_colab.mounts == [str(colab.DRIVE)]
    assert "they outlive this runtime" in capsys.readouterr().out


def test_without_drive_studies_stay_here_and_a_sentence_says_so(in_colab, capsys):
    assert not colab.study_folder(False).is_absolute()
    assert not in_colab.mounts
    in_colab.reject = "the user said no"
    assert colab.study_folder(True) == colab.study_folder(False)
    said = capsys.readouterr().out
    assert "could not be mounted (the user said no)" in said
    assert said.count("\n") == 1


def test_drive_elsewhere_than_in_colab_is_declined(elsewhere, capsys):
    assert colab.study_folder(True) == colab.study_folder(False)
    assert "in Colab only" in capsys.readouterr().out


@pytest.fixture
def pip(monkeypatch):
    """Records pip's arguments and constraints; `install` changes what counts as installed."""
    found = dict(colab._versions())
    seen = SimpleNamespace(calls=[], constraints="", versions=found, becomes={}, answer=(0, ""))

    def run(words, **_):
        assert words[:4] == [sys.executable, "-m", "pip", "install"]
        seen.calls.append(words)
        with open(words[words.index("--constraint") + 1]) as stream:
            seen.constraints = stream.read()
        seen.versions.update(seen.becomes)
        return subprocess.CompletedProcess(words, seen.answer[0], "", seen.answer[1])

    monkeypatch.setattr(colab.subprocess, "run", run)
    monkeypatch.setattr(colab, "_versions", lambda: dict(seen.versions))
    return seen


def listed(tmp_path, text):
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    return path


def test_nothing_is_installed_where_nothing_is_missing(tmp_path, pip, repo_root):
    assert colab.install(repo_root / "requirements.txt") == []
    assert colab.install(listed(tmp_path, "torch>=2\n# a comment\n\nwinonly>=1; sys_platform == 'win32'\n")) == []
    assert pip.calls == []


def test_only_the_missing_is_installed_under_the_present_torch_and_numpy(tmp_path, pip, capsys):
    path = listed(tmp_path, "torch>=2\nnumpy\nno-such-package>=1  # why\noptuna>=999\n")
    assert colab.install(path) == ["no-such-package>=1", "optuna>=999"]
    (words,) = pip.calls
    assert words[-2:] == ["no-such-package>=1", "optuna>=999"]
    present = {f"{name}=={metadata.version(name)}" for name in ("torch", "numpy")}
    assert set(pip.constraints.split()) == present
    assert "Installing 2 packages" in capsys.readouterr().out


def test_a_replaced_torch_is_an_error(tmp_path, pip):
    pip.becomes = {"torch": "99.0"}
    with pytest.raises(RuntimeError, match=r"torch was .* and is 99\.0 now.*restart"):
        colab.install(listed(tmp_path, "no-such-package"))


def test_pips_last_line_says_why_it_failed(tmp_path, pip):
    pip.answer = (1, "Looking\nERROR: No matching distribution found for no-such-package\n")
    with pytest.raises(RuntimeError, match=r"no-such-package: ERROR: No matching distribution"):
        colab.install(listed(tmp_path, "no-such-package"))


def test_a_replaced_package_in_use_asks_for_a_restart(tmp_path, pip, capsys):
    pip.becomes = {"pytest": "99.0"}
    colab.install(listed(tmp_path, "pytest>=99"))
    assert "Restart the runtime" in capsys.readouterr().out


def test_gpus_come_from_the_driver_and_a_machine_without_one_says_cpu(monkeypatch):
    answer = subprocess.CompletedProcess([], 0, "Tesla T4, 305, 15360\nOdd, name, 0, 1000\n", "")
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: answer)
    first, second = colab.gpus()
    assert (first.name, second.name) == ("Tesla T4", "Odd, name")
    assert first.total == pytest.approx(15360 * 2**20 / 1e9)

    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(colab.subprocess, "run", absent)
    assert colab.gpus() == []
    assert "CPU" in colab.machine_rows(colab.ROOT)["GPU"]


def test_the_cell_can_run_the_file_before_anything_is_installed_and_again(repo_root, monkeypatch, capsys, tmp_path):
    """Its top imports the standard library alone: the cell loads it by its path."""
    code = (
        "import sys, runpy\n"
        f"runpy.run_path({str(repo_root / 'helpers' / 'utils' / 'runtime.py')!r})\n"
        "print(sorted({'optuna', 'torch', 'helpers', 'numpy', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(repo_root)])
    set_up = runpy.run_path(str(repo_root / "helpers" / "utils" / "runtime.py"))["set_up"]
    assert set_up() == set_up()
    assert sys.path.count(str(repo_root)) == 1
    said = capsys.readouterr().out
    assert {"GPU:", "memory:", "disk:", "versions:"} <= set(said.split())
    assert "Installing" not in said

"""The set-up cell, with a stand-in for the Colab modules and for pip."""

import errno
import re
import runpy
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from helpers.utils import machine
from helpers.utils import runtime as colab


@pytest.fixture
def in_colab(tmp_path, monkeypatch, elsewhere):
    """A runtime with `google.colab`; its Drive mounts, or fails with the text in `refuse`."""
    package = tmp_path / "dist-packages" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "drive.py").write_text(
        "from pathlib import Path\nrefuse, mounts = None, []\n"
        "def mount(place, force_remount=False):\n"
        "    mounts.append((place, force_remount))\n"
        "    if refuse: raise ValueError(refuse)\n"
        "    (Path(place) / 'MyDrive').mkdir(parents=True, exist_ok=True)\n"
    )
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "dist-packages")
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "x")
    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    monkeypatch.setenv(colab.DECLINED, "")
    monkeypatch.delenv(colab.DECLINED)
    drive = colab.importlib.import_module("google.colab.drive")
    yield drive
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        del sys.modules[name]


@pytest.fixture
def elsewhere(monkeypatch):
    for name in ("COLAB_NOTEBOOK_ID", "VSCODE_PID", "JPY_SESSION_NAME", "KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"):
        monkeypatch.delenv(name, raising=False)


def shell(monkeypatch, **names):
    monkeypatch.setattr(colab, "_shell", lambda: SimpleNamespace(user_ns=names))


def test_colab_is_recognised_in_the_browser_and_from_vs_code(in_colab, monkeypatch):
    assert colab.runtime_name() == "Colab"
    assert colab.loads_scripts_per_output()
    shell(monkeypatch, __vsc_ipynb_file__="01.ipynb")
    assert colab.runtime_name() == "Colab from VS Code"
    shell(monkeypatch)
    monkeypatch.delenv("COLAB_NOTEBOOK_ID")
    assert colab.runtime_name() == "Colab from VS Code"
    assert not colab.loads_scripts_per_output()
    assert not colab.clicks_reach_running_cell()


def test_kaggle_is_not_colab_though_it_brings_its_package(in_colab, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert (colab.runtime_name(), colab.has_front_end(), colab.is_colab_runtime()) == ("Kaggle", True, False)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert not colab.has_front_end()


def test_other_places_are_told_apart(elsewhere, monkeypatch):
    monkeypatch.setattr(colab, "_shell", lambda: None)
    assert (colab.runtime_name(), colab.has_front_end()) == ("Python", False)
    shell(monkeypatch)
    assert (colab.runtime_name(), colab.has_front_end()) == ("Jupyter", False), "a program executes the notebook"
    monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
    assert (colab.runtime_name(), colab.has_front_end()) == ("Jupyter", True)
    shell(monkeypatch, __vsc_ipynb_file__="01.ipynb")
    assert colab.runtime_name() == "VS Code"


def test_drive_is_mounted_once(in_colab, capsys):
    first = colab.study_folder(True)
    assert first == colab.study_folder(True)
    assert first.is_dir()
    assert in_colab.mounts == [(str(colab.DRIVE), False)]
    assert "they outlive this runtime" in capsys.readouterr().out


def test_in_colab_drive_is_asked_for_once_and_by_itself(in_colab, capsys):
    in_colab.refuse = "the user said no"
    assert not colab.study_folder().is_absolute()
    assert not colab.study_folder().is_absolute()
    assert len(in_colab.mounts) == 1, "declined once is declined"
    said = capsys.readouterr().out
    assert said.count("\n") == 2
    assert "set drive=True to be asked again" in said
    in_colab.refuse = None
    assert colab.study_folder(True).is_dir()
    assert colab.study_folder().is_absolute(), "and what was allowed since then holds"


def test_a_dead_mount_of_drive_is_mounted_again(in_colab, monkeypatch):
    answers = iter([OSError(errno.ENOTCONN, "Transport endpoint is not connected")])
    alive = colab.Path.is_dir

    def is_dir(path):
        for answer in answers:
            raise answer
        return alive(path)

    monkeypatch.setattr(colab.Path, "is_dir", is_dir)
    colab.mount_drive()
    assert in_colab.mounts == [(str(colab.DRIVE), True)]
    colab.mount_drive()
    assert len(in_colab.mounts) == 1


def test_a_study_that_is_not_there_may_be_on_another_machine(in_colab, elsewhere, monkeypatch, tmp_path):
    assert "machine of its own" in colab.lost_studies_hint(tmp_path)
    assert not colab.lost_studies_hint(colab.DRIVE / "MyDrive" / "gazegaussian_studies")
    monkeypatch.setattr(colab, "runtime_name", lambda: "Jupyter")
    assert not colab.lost_studies_hint(tmp_path)


def test_without_drive_studies_stay_here_and_a_sentence_says_so(in_colab, capsys):
    assert not colab.study_folder(False).is_absolute()
    assert not in_colab.mounts
    in_colab.refuse = "the user said no"
    assert colab.study_folder(True) == colab.study_folder(False)
    said = capsys.readouterr().out
    assert "could not be mounted (the user said no)" in said
    assert said.count("\n") == 1


def test_drive_elsewhere_than_in_colab_is_declined(elsewhere, capsys):
    assert colab.study_folder(True) == colab.study_folder(False) == colab.study_folder()
    assert "in Colab only" in capsys.readouterr().out


@pytest.fixture
def pip(monkeypatch):
    """Records pip's arguments and constraints; `install` changes what counts as installed."""
    versions = dict(colab.installed_versions())
    seen = SimpleNamespace(calls=[], constraints="", versions=versions, becomes={}, answers=[])

    def run(args, **_):
        assert args[:4] == [sys.executable, "-m", "pip", "install"]
        seen.calls.append(args)
        with open(args[args.index("--constraint") + 1]) as stream:
            seen.constraints = stream.read()
        code, text = seen.answers.pop(0) if seen.answers else (0, "")
        if not code:
            seen.versions.update(seen.becomes)
        return subprocess.CompletedProcess(args, code, "", text)

    monkeypatch.setattr(colab.subprocess, "run", run)
    monkeypatch.setattr(colab, "installed_versions", lambda: dict(seen.versions))
    return seen


def listed(tmp_path, text):
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    return path


def test_nothing_is_installed_where_nothing_is_missing(tmp_path, pip, repo_root):
    assert colab.install(repo_root / "requirements.txt") == []
    assert colab.install(listed(tmp_path, "torch>=2\n# a comment\n\nwinonly>=1; sys_platform == 'win32'\n")) == []
    assert pip.calls == []


def test_only_the_missing_is_installed_and_nothing_else_replaced(tmp_path, pip, capsys):
    path = listed(tmp_path, "torch>=2\nnumpy\nno-such-package>=1  # why\noptuna>=999\n")
    assert colab.install(path) == ["no-such-package>=1", "optuna>=999"]
    (args,) = pip.calls
    assert args[-2:] == ["no-such-package>=1", "optuna>=999"]
    kept = set(pip.constraints.split())
    assert {f"{name}=={metadata.version(name)}" for name in ("torch", "numpy", "ipykernel", "pytest")} <= kept
    assert not any(line.startswith("optuna==") for line in kept)
    said = capsys.readouterr().out
    assert "Installing what is missing: no-such-package>=1, optuna>=999" in said
    assert "Installed 0 packages" in said


def test_what_came_is_said_with_its_size(tmp_path, pip, capsys):
    del pip.versions["jinja2"]
    pip.becomes = {"jinja2": metadata.version("jinja2")}
    colab.install(listed(tmp_path, "no-such-package"))
    assert "Installed 1 packages" in (said := capsys.readouterr().out)
    assert re.search(r"they take \d+ MB", said)


def test_where_not_all_can_stay_torch_and_numpy_do(tmp_path, pip):
    pip.answers = [(1, "ERROR: ResolutionImpossible")]
    colab.install(listed(tmp_path, "no-such-package"))
    assert len(pip.calls) == 2
    assert {line.partition("==")[0] for line in pip.constraints.split()} == {"torch", "numpy"}


def test_a_replaced_torch_is_an_error(tmp_path, pip):
    pip.becomes = {"torch": "99.0"}
    with pytest.raises(RuntimeError, match=r"torch was .* and is 99\.0 now.*restart"):
        colab.install(listed(tmp_path, "no-such-package"))


def test_pips_last_line_says_why_it_failed(tmp_path, pip):
    pip.answers = 2 * [(1, "Looking\nERROR: No matching distribution found for no-such-package\n")]
    with pytest.raises(RuntimeError, match=r"no-such-package: ERROR: No matching distribution"):
        colab.install(listed(tmp_path, "no-such-package"))


def test_a_replaced_package_in_use_asks_for_a_restart(tmp_path, pip, capsys):
    pip.becomes = {"pytest": "99.0"}
    colab.install(listed(tmp_path, "pytest>=99"))
    assert "Restart the runtime" in capsys.readouterr().out


def test_gpus_come_from_the_driver_and_a_machine_without_one_says_cpu(monkeypatch):
    answer = subprocess.CompletedProcess([], 0, "Tesla T4, 305, 15360\nOdd, name, 0, 1000\n", "")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: answer)
    first, second = machine.gpus()
    assert (first.name, second.name) == ("Tesla T4", "Odd, name")
    assert first.total == pytest.approx(15360 * 2**20 / 1e9)

    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(machine.subprocess, "run", absent)
    assert machine.gpus() == []
    assert "CPU" in machine.machine_rows(colab.ROOT)["GPU"]


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

"""`pip install .` gives the command, its data files, and studies in any folder, without the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from repository import ROOT, left_out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools writes beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    args = [
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(folder / "source"),
    ]
    subprocess.run([sys.executable, "-m", "pip", *args], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment of its own with the wheel in it, the other packages from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")}))
    python = folder / "venv" / "bin" / "python"
    args = ["install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *args], check=True)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*args):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(folder / "venv" / "bin" / "gazegaussian"), *map(str, args)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return folder, run


def test_the_wheel_holds_code_configurations_weights_and_templates(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = [
        path for package in ("gazegaussian", "helpers") for path in (ROOT / package).rglob("*") if path.is_file()
    ]
    expected = {path.relative_to(ROOT).as_posix() for path in tracked if "__pycache__" not in path.parts}
    configs = {f"gazegaussian/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert len(configs) > 10
    assert (expected | configs | {"train_gazegaussian_optuna.py"}) - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "gazegaussian", "helpers", "train_gazegaussian_optuna.py"
    }  # fmt: skip
    assert {name.rpartition("/")[2] for name in names if ".dist-info/licenses" in name} == {"LICENSE", "NOTICE"}


def test_the_command_runs_in_another_folder(installed):
    folder, run = installed
    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert "gazegaussian [OPTIONS] COMMAND" in shown.stdout
    assert run("--version").stdout == "GazeGaussian 0.1.0\n"
    refused = run("study", "meshhead", "--storage", "postgresql://me:secret@host/db")
    assert refused.returncode == 2
    assert "GAZEGAUSSIAN_STORAGE" in refused.stderr
    assert not (folder / "optuna_results").exists()


def test_an_installed_copy_runs_a_study_with_workers(installed):
    """Workers and notebooks start processes of their own, which must find the installed packages."""
    folder, run = installed
    shutil.copytree(ROOT / "examples" / "tune_your_model", folder / "mine")
    (folder / "helpers.py").write_text("raise RuntimeError('helpers of another project')")
    args = [
        "study",
        "digits",
        "--stage-module",
        "mine/digits.py",
        "--n-trials",
        2,
        "--epochs",
        1,
        "--workers",
        2,
        "--no-audit",
    ]
    done = run(*args)
    assert done.returncode == 0, done.stderr
    assert (folder / "optuna_results" / "digits" / "report.html").is_file()
    (folder / "helpers.py").unlink()
    python = folder / "venv" / "bin" / "python"
    program = (
        "from helpers.utils.paths import SCRIPT, run_file; from helpers.utils.environment import git_commit;"
        "from helpers.notebook.cli_process import start;"
        "print(run_file('meshhead').is_file(), git_commit(), start(['--help']).wait())"
    )
    told = subprocess.run([python, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[0] == "True gazegaussian-studies 0.1.0, installed 0"

"""The hooks of a commit, each run once as pre-commit runs it; mypy and ruff's two run in `make lint`."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from architecture_support import ROOT

HOOKS = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
}
NOTEBOOKS = sorted(map(str, (ROOT / "notebooks").glob("*.ipynb")))


def call(hook, files):
    args = shlex.split(HOOKS[hook]["entry"])
    assert args[0] == "python"
    return subprocess.run([sys.executable, *args[1:], *files], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_hook_is_a_program_of_the_environment():
    assert set(HOOKS) == {"ruff", "ruff-format", "nbstripout", "jupytext", "mypy"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml"], check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("hook", ["ruff", "ruff-format"])
def test_ruff_is_called_rightly(hook):
    assert call(hook, ["gazegaussian/errors.py"]).returncode == 0


def test_notebooks_hold_no_outputs():
    done = call("nbstripout", NOTEBOOKS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_twins_follow_the_notebook_that_was_changed(tmp_path):
    """A hook that changes a file stops the commit; one that agrees changes nothing."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "notebooks" / "03_read_results.ipynb"
    twin = tmp_path / "notebooks" / "scripts" / "03_read_results.py"
    before = twin.read_bytes()
    os.utime(path)
    assert call("jupytext", [str(path)]).returncode == 0
    assert twin.read_bytes() == before
    path.write_text(path.read_text().replace("results", "findings"))
    assert call("jupytext", [str(path)]).returncode == 0
    assert b"findings" in twin.read_bytes()


def test_a_notebook_with_an_output_is_noticed(tmp_path):
    import nbformat

    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")])
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert call("nbstripout", [str(path)]).returncode == 1

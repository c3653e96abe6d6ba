"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from repository import ROOT, left_out

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


def recipes():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        yield pytest.param(BLOCK.findall(body), id=title.partition(":")[0].replace(" ", "_"))


def apply(folder, diff):
    """Change a file: what the context and `-` lines say stands in it once, and becomes context and `+` lines."""
    header, *lines = diff.splitlines()
    path = folder / header.removeprefix("--- ")
    old = "".join(line[1:] + "\n" for line in lines if not line.startswith("+"))
    new = "".join(line[1:] + "\n" for line in lines if not line.startswith("-"))
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} does not hold once:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def call(folder, args):
    args = [sys.executable if arg == "python" else arg for arg in args]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(args, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


def git(folder, *args):
    """The repository lies beside the folder: what runs in it finds none, as in a copy without git."""
    options = [f"--git-dir={folder.parent / 'repository.git'}", f"--work-tree={folder}"]
    done = subprocess.run(["git", *options, *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("blocks", list(recipes()))
def test_a_recipe_works_as_it_is_written(blocks, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(ROOT, folder, ignore=left_out, dirs_exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    (folder / "scratch").mkdir()
    ran = 0
    for kind, name, content in blocks:
        if kind == "diff":
            apply(folder, content)
        elif name:
            (folder / name).write_text(content, encoding="utf-8")
        for line in content.splitlines() if kind == "console" else ():
            call(folder, shlex.split(line.removeprefix("$ ")))
            ran += 1
    assert ran >= 1
    code = {name for _, name, _ in blocks if name.startswith("helpers/")}
    assert set(git(folder, "ls-files", "--others", "--exclude-standard").splitlines()) == code, (
        "the rest is ignored by git"
    )


def test_there_are_four_recipes_and_each_makes_something():
    all_recipes = list(recipes())
    assert len(all_recipes) == 4
    for recipe in all_recipes:
        (blocks,) = recipe.values
        assert {"console"} < {kind for kind, _, _ in blocks}


def test_a_change_whose_place_is_gone_is_noticed(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(AssertionError, match="does not hold once"):
        apply(tmp_path, "--- a.py\n y = 1\n+z = 2\n")
    apply(tmp_path, "--- a.py\n x = 1\n+z = 2\n")
    assert (tmp_path / "a.py").read_text() == "x = 1\nz = 2\n"

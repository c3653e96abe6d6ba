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


def call(folder, words):
    words = [sys.executable if word == "python" else word for word in words]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("blocks", recipes())
def test_a_recipe_works_as_it_is_written(blocks, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(ROOT, folder, ignore=left_out, dirs_exist_ok=True)
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


def test_there_are_four_recipes_and_each_makes_something():
    found = list(recipes())
    assert len(found) == 4
    for recipe in found:
        (blocks,) = recipe.values
        assert {"console"} < {kind for kind, _, _ in blocks}


def test_a_change_whose_place_is_gone_is_noticed(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(AssertionError, match="does not hold once"):
        apply(tmp_path, "--- a.py\n y = 1\n+z = 2\n")
    apply(tmp_path, "--- a.py\n x = 1\n+z = 2\n")
    assert (tmp_path / "a.py").read_text() == "x = 1\nz = 2\n"

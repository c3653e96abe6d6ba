"""What CI counts on: the order of the test files, and scripts that say why they are skipped."""

import subprocess

from architecture_support import ROOT
from conftest import LONGEST


def test_the_longest_files_are_there_and_the_runner_keeps_their_order():
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name for name in LONGEST if name not in files] == []
    assert len(set(LONGEST)) == len(LONGEST)
    (line,) = [line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if "-m pytest" in line]
    assert "--dist loadfile --no-loadscope-reorder" in line


def test_the_lowest_versions_without_an_index_are_skipped_in_a_line(tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *download*) exit 1;; esac\nexit 9\n')  # pip that reaches nothing
    python.chmod(0o755)
    done = subprocess.run([ROOT / ".ci" / "lowest", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the lowest versions were not run: the package index cannot be reached\n"
    assert done.stderr == ""

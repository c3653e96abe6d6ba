"""Versions: the lock holds what the requirements admit, with hashes; lower bounds are those that were run."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from gazegaussian.training.checkpoints import SAFE_TORCH

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.txt", "requirements-cluster.txt", "requirements-dev.txt")


def requirements(name):
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def locked():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    return {re.match(r"([a-z0-9-]+)==(\S+)", block).groups(): block for block in blocks}


@pytest.mark.parametrize("name", FILES)
def test_the_lock_holds_what_the_requirements_admit(name):
    versions = dict(locked().keys())
    for wanted in requirements(name):
        package = canonicalize_name(wanted.name)
        if package == "torch":
            assert package not in versions, "each build has hashes of its own"
            continue
        assert wanted.specifier.contains(versions[package], prereleases=True), f"{wanted}: run .ci/lock"


def test_every_locked_version_has_its_hashes():
    for (package, _), block in locked().items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), package
        assert not package.startswith(("nvidia-", "cuda-", "triton"))


def test_lower_bounds_are_at_least_those_that_work():
    """typer 0.12 to 0.16.0 break the command line, filelock 3.12 to 3.16.0 every study.

    Kaleido 1.0 to 1.2 cannot be told to stop at the first error, so that no PNG is drawn.
    """
    least = {
        "typer": "0.16.1",
        "filelock": "3.16.1",
        "plotly": "5.24.1",
        "kaleido": "1.3",
        "torch": ".".join(map(str, SAFE_TORCH)),
    }
    bounds = {wanted.name: wanted.specifier for wanted in requirements("requirements.txt")}
    for name, version in least.items():
        (bound,) = [one.version for one in bounds[name] if one.operator == ">="]
        assert Version(bound) >= Version(version)


def test_pyproject_and_requirements_say_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"cluster", "evaluation", "dev"}
    for name, listed in {
        "": project["dependencies"],
        **{f"-{extra}": packages for extra, packages in extras.items()},
    }.items():
        file = f"requirements{name}.txt"
        assert list(map(Requirement, listed)) == requirements(file), f"pyproject.toml and {file} differ"

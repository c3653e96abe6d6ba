"""What is imported when: a misspelt name is told before torch and plotly have been imported, and every verb is found."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import helpers

HEAVY = {"torch", "plotly", "kaleido", "sklearn", "scipy", "pandas", "IPython", "warp", "torchmetrics"}
REFUSED = """
import sys
import train_gazegaussian_optuna as script

for words in (
    ["study", "meshhead", "--study", "missing.yaml"],
    ["study", "gazegaussian", "--out", "empty"],
    ["estimate", "meshhead", "--config", "missing.yaml"],
    ["train", "meshhead", "--params", "missing.json"],
    ["train", "meshhead", "--epochs", "0"],
    ["report", "missing"],
    ["confirm", "missing"],
    ["migrate", "missing", "--study", "wider.yaml", "--study-name", "wider"],
    ["redirect", "missing.pt", "--data", "x", "--subject", "a", "--pitch", "0", "--yaw", "0", "--out", "x.png"],
    ["sweep", "missing.pt", "--data", "x", "--subject", "a", "--out", "x.gif"],
    ["evaluate", "missing.pt", "--data", "x"],
):
    sys.argv = ["script", *words]
    try:
        script.main()
    except SystemExit as ending:
        print(words[0], ending.code, sorted(HEAVY & set(sys.modules)))
"""


def test_input_that_cannot_be_used_is_refused_before_the_heavy_imports(repo_root, tmp_path):
    program = f"import sys; sys.path.insert(0, {str(repo_root)!r}); HEAVY = {HEAVY!r}\n{REFUSED}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()] == ["2 []"] * 11, done.stdout
    assert len(done.stderr.splitlines()) == 11, done.stderr


@pytest.mark.parametrize("name", helpers.__all__)
def test_every_verb_is_found_where_it_is_made(name):
    assert getattr(helpers, name).__module__ == f"helpers.{homes()[name]}"


def homes():
    """Module of each verb, as the stub says."""
    stub = ast.parse(Path(helpers.__file__).with_suffix(".pyi").read_text())
    return {node.names[0].name: node.module for node in stub.body if isinstance(node, ast.ImportFrom)}


def test_the_verbs_are_listed():
    assert set(helpers.__all__) == set(homes()) <= set(dir(helpers))


def test_no_module_takes_the_place_of_a_verb():
    modules = {path.stem for path in Path(helpers.__file__).parent.glob("*.py")}
    assert modules & set(helpers.__all__) == set()


def test_what_is_no_verb_is_an_attribute_error():
    with pytest.raises(AttributeError, match="trian"):
        helpers.trian  # noqa: B018

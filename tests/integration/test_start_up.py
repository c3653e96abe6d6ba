"""What is imported when: a misspelt name is told before torch and plotly have been imported, and every verb is found."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from study_support import fake_train, run_study
from synthetic_support import heads

import helpers

HEAVY = {"torch", "plotly", "kaleido", "sklearn", "scipy", "pandas", "IPython", "warp", "torchmetrics"}
REFUSED = """
REDIRECT = ["redirect", "a.pt", "--data", DATA, "--subject", "subject0001", "--pitch", "0"]
for args in (
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
    ["evaluate", "a.pt", "--data", "missing"],
    ["evaluate", "a.pt", "--data", DATA, "--split", "nope"],
    ["evaluate", "a.pt", "--data", DATA, "--gaze-network", "missing.pt"],
    ["import", "missing.pt"],
    ["export", "missing"],
    ["export", "."],
    ["export", "training", "--out", "."],
    ["dashboard", "missing"],
    ["dashboard", "."],
    ["study", "meshhead", "--data", "missing"],
    ["study", "meshhead", "--study-name", "a/b"],
    ["study", "meshhead", "--storage", "sqlite:////missing/study.db"],
    ["study", "meshhead", "--storage", "nonsense"],
    ["study", "meshhead", "--study", "misspelt.yaml"],
    ["study", "gazegaussian", "--meshhead", "missing.pt"],
    ["study", "meshhead", "--init-from", "missing.pt"],
    ["train", "gazegaussian", "--meshhead", "missing.pt"],
    ["audit", "meshhead", "--data", "missing"],
    ["train", "meshhead", "--data", "a.pt"],
    ["data", "check", "missing.h5"],
    ["data", "check", "."],
    [*REDIRECT, "--yaw", "200", "--out", "x.png"],
    [*REDIRECT, "--yaw", "0", "--yaw", "1", "--yaw", "2", "--pitch", "1", "--out", "x.png"],
    [*REDIRECT, "--yaw", "0", "--out", "x.jpg"],
    [*REDIRECT, "--yaw", "0", "--out", "a.pt/x.png"],
    [*REDIRECT, "--yaw", "0", "--out", "x.png", "--frame", "99"],
    [*REDIRECT[:5], "nobody", "--pitch", "0", "--yaw", "0", "--out", "x.png"],
    ["sweep", *REDIRECT[1:5], "subject0001", "--out", "x.gif", "--frame", "99"],
):
    sys.argv = ["script", *args]
    try:
        script.main()
    except SystemExit as ending:
        print(args, ending.code, sorted(HEAVY & set(sys.modules)), sep="; ")
"""


def call(repo_root, folder, program):
    """Run a program that knows `script`, the command line, and which imports are `HEAVY`."""
    begin = f"import sys; sys.path.insert(0, {str(repo_root)!r}); import train_gazegaussian_optuna as script"
    args = [sys.executable, "-c", f"{begin}\nHEAVY = {HEAVY!r}\n{program}"]
    return subprocess.run(args, capture_output=True, text=True, cwd=folder, check=True)


def test_input_that_cannot_be_used_is_refused_before_the_heavy_imports(repo_root, tmp_path):
    (tmp_path / "a.pt").touch()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "best.pt").touch()
    file = (repo_root / "configs" / "studies" / "meshhead" / "space.yaml").read_text()
    (tmp_path / "misspelt.yaml").write_text(file.replace("name: tpe", "name: tpee"))
    done = call(repo_root, tmp_path, f"DATA = {str(heads()[0].root)!r}\n{REFUSED}")
    calls = done.stdout.splitlines()
    assert len(calls) > 30
    assert [line for line in calls if not line.endswith("; 2; []")] == []
    told = [line for line in done.stderr.splitlines() if not line.endswith(": reading the settings")]
    assert len(told) == len(calls), done.stderr


def test_a_complete_study_is_told_before_the_heavy_imports(repo_root, tmp_path):
    asked = helpers.default_spec("meshhead", n_trials=1, out=tmp_path)
    run_study(replace(asked, train=fake_train, check=lambda _: None))
    (asked.folder / "figures").mkdir()
    for path in (asked.folder / "figures" / "history.html", asked.folder / "report.html"):
        path.touch()
    args = ["script", "study", "meshhead", "--n-trials", "1", "--out", str(tmp_path), "--pruner", "none"]
    done = call(repo_root, tmp_path, f"sys.argv = {args!r}; script.main(); print(sorted(HEAVY & set(sys.modules)))")
    assert "nothing to add" in done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


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


def test_a_python_without_the_packages_is_told_what_to_do(repo_root):
    args = [sys.executable, "-S", str(repo_root / "train_gazegaussian_optuna.py"), "--help"]  # without site-packages
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: packages are missing")
    assert len(done.stderr.splitlines()) == 1


def test_workers_are_forked_from_a_process_with_one_thread_and_without_figures(repo_root, tmp_path):
    """A fork takes one thread along: what others held would stay locked. Figures would cost every worker their memory."""
    program = "import helpers.study.workers.preload, threading; print(threading.active_count(), sorted(HEAVY & set(sys.modules)))"
    threads, _, loaded = call(repo_root, tmp_path, program).stdout.partition(" ")
    assert threads == "1"
    assert "torch" in loaded
    assert not {"plotly", "kaleido", "sklearn", "pandas", "IPython"} & set(ast.literal_eval(loaded))

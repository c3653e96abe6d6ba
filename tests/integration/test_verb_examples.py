"""The examples in the docstrings of the public verbs run as they stand, in a folder with a small study of the example model."""

import doctest
import importlib
import re
import shutil
from pathlib import Path

import pytest
from repository import ROOT

import helpers
from gazegaussian import stages

STUB = (ROOT / "helpers" / "__init__.pyi").read_text(encoding="utf-8")
VERBS = {
    name: module for module, name in re.findall(r"^from \.(\S+) import (\w+) as \w+$", STUB, re.M) if name[0].islower()
}
WITHOUT = {  # and where the README shows them
    "continue_pruned": "needs a study with many pruned trials",
    "evaluate": "renders for minutes",
    "import_checkpoint": "needs a checkpoint of the released code",
    "migrate_study": "needs two study files",
    "redirect": "needs a trained GazeGaussian",
    "save_sweep": "needs a trained GazeGaussian",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, stages_for_a_while):
    """A folder with `optuna_results/digits`: three trials of two epochs."""
    folder = tmp_path_factory.mktemp("verbs")
    shutil.copytree(ROOT / "examples" / "tune_your_model", folder / "mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stages.load_stages(str(folder / "mine" / "digits.py"))
        spec = helpers.default_spec("digits", n_trials=3, epochs=2, pool=helpers.WorkerPool(workers=1), pruner="none")
        helpers.run(spec, audit=False, figures=False)
        yield folder


def examples(verb):
    home = importlib.import_module(f"helpers.{VERBS[verb]}")
    finder = doctest.DocTestFinder(recurse=False)
    return [
        test
        for test in finder.find(getattr(home, verb), verb, globs={"helpers": helpers, "Path": Path})
        if test.examples
    ]


def test_every_verb_has_an_example_or_a_reason():
    assert len(VERBS) > 20
    assert [verb for verb in VERBS if verb not in WITHOUT and not examples(verb)] == []
    assert set(WITHOUT) <= set(VERBS)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT])
def test_the_example_of_a_verb_runs(verb, workplace):
    for test in examples(verb):
        said = []
        result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        assert result.failed == 0, "".join(said)
        assert result.attempted > 0


@pytest.mark.parametrize("name", ["gazegaussian.data.splits", "helpers.utils.paths", "helpers.utils.plain_text"])
def test_other_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert (result.failed, result.attempted > 0) == (0, True)

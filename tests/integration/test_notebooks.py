"""Every notebook runs top to bottom, unattended, in a clean kernel, and shows what it promises."""

import json

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from notebook_support import with_parameters_cell

from gazegaussian.training.checkpoint_files import DEMO_FILE
from helpers.reporting.pngs import find_browser

NOTEBOOKS = ("00_quickstart", "01_meshhead_study", "02_gazegaussian_study", "03_read_results", "04_redirect_gaze")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


def execute(repo_root, name, **parameters):
    notebook = with_parameters_cell(repo_root / "notebooks" / f"{name}.ipynb", **parameters)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(repo_root / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [key for output in outputs for key in output.get("data", {})]
    printed = "".join(output.get("text", "") for output in outputs)
    text = printed + "".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "Warning" not in text
    assert "┃" not in printed, "a narrow cell folds it"
    return kinds, text


def test_quickstart_ends_with_a_strip_and_again_shows_what_is_there(repo_root, out):
    sizes = {"people": 2, "frames": 1, "size": 64, "epochs_meshhead": 1, "epochs_gazegaussian": 1, "pairs": 2}
    for done_before in (False, True):
        kinds, text = execute(repo_root, "00_quickstart", **sizes, data=str(out / "data"), out=str(out))
        assert kinds.count("image/png") == 4 + 2 * DEMO_FILE.is_file()  # strip and sliders of the shipped model
        assert DEMO_FILE.is_file() or "has no shipped model" in text
        assert "gaze_error_deg" in text or "gaze error" in text  # the table of the evaluation
        assert ("epoch 1/1" in text) != done_before
        assert text.count("nothing to do") == 3 * done_before  # heads and both trainings
    assert (out / "quickstart_strip.png").exists()


def test_studies_then_their_results(repo_root, out):
    out = out / "studies"  # a training of the quickstart would be shown before the model of a smoke test
    out.mkdir()
    for name, stage in (("01_meshhead_study", "meshhead"), ("02_gazegaussian_study", "gazegaussian")):
        kinds, text = execute(repo_root, name, smoke=True, out=str(out))
        assert kinds.count("application/vnd.plotly.v1+json") >= 3  # the curves of the run among them
        assert kinds.count("text/html") >= 2  # the tables of the machine and of the trials
        assert "image/png" in kinds
        assert "best: trial" in text
        assert "progress - trials: 0 of 2 finished" in text
        assert "Ended: all 2 trials are finished" in text
        assert f"Audit of {stage}_smoke" in text
        assert "audit: already passed" in text, "the gate of the study would repeat the audit"
        assert f"Estimate of {stage}_smoke" in text
        assert (out / f"{stage}_smoke" / "best.yaml").exists()
    assert (out / "gazegaussian_smoke" / "export" / "SHA256SUMS").exists()
    kinds, text = execute(repo_root, "03_read_results", out=str(out))
    figures = kinds.count("application/vnd.plotly.v1+json")
    assert figures >= 4
    # Tables of the machine, of the best trials and their parameters, below the figures but two, link and frame.
    assert kinds.count("text/html") >= 1 + 2 + 2 + (figures - 2) + 2
    assert "gazegaussian_smoke: 2 epochs in " in text
    assert kinds.count("image/png") == (figures if find_browser() else 0), "GitHub would show no figures"
    assert kinds.count("image/jpeg") == 2, "pictures of the best trials"
    kinds, text = execute(repo_root, "04_redirect_gaze", out=str(out))
    assert (kinds.count("image/png"), kinds.count("image/gif")) == (2, 1)
    assert text.count("Asked: gaze pitch") == 2
    assert len(list((out / "redirected").glob("subject*_image*_gaze-circle_gazegaussian_smoke_trial_*.gif"))) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_without_outputs_and_with_parameters(repo_root, name):
    content = json.loads((repo_root / "notebooks" / f"{name}.ipynb").read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    assert all(len(list(filter(str.strip, cell["source"]))) <= 10 for cell in code), "a cell of more than ten lines"


def cells(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def test_every_notebook_has_its_twin_in_sync(repo_root):
    notebooks = {path.stem: path for path in (repo_root / "notebooks").glob("*.ipynb")}
    scripts = {path.stem: path for path in (repo_root / "notebooks" / "scripts").glob("*.py")}
    assert set(notebooks) == set(scripts) == set(NOTEBOOKS)
    for name, path in notebooks.items():
        twin = jupytext.read(scripts[name], fmt="py:percent")
        assert cells(twin) == cells(nbformat.read(path, as_version=4)), f"{name}: run `make notebooks`"

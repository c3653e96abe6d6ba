"""Notebooks 03 and 04 as a person meets them: JupyterLab in a real browser, plots to look at, sliders that move the eyes."""

import io
import json
import os
import secrets
import socket
import subprocess
import sys
import time

import nbformat
import numpy as np
import psutil
import pytest
from browser_support import chromium
from dashboard_support import pictured
from notebook_support import with_parameters_cell
from optuna.trial import TrialState
from PIL import Image
from study_support import run_study, spec
from synthetic_support import SIZE, heads, untrained_checkpoints

from helpers.inference.scene import People

pytest.importorskip("jupyterlab")
LIMIT = 240  # seconds: a busy machine is slow, not broken
IDLE = "Python 3 (ipykernel) | Idle"
RUN = "() => { const all = [...document.querySelectorAll('.jp-InputPrompt')].map(prompt => prompt.textContent);\
 return all.some(text => /[0-9]/.test(text)) && !all.some(text => text.includes('*')); }"

# every figure is as wide as its cell; pixels of all outputs together
FITS = "() => [...document.querySelectorAll('.js-plotly-plot')].every(plot =>\
 Math.abs(plot._fullLayout.width - plot.closest('.jp-OutputArea-output').clientWidth) <= 20)"
TALL = "() => [...document.querySelectorAll('.jp-OutputArea-output')].reduce((sum, out) => sum + out.clientHeight, 0)"


@pytest.fixture(scope="module")
def root(tmp_path_factory, repo_root):
    """What the server shows: notebooks that may be saved, beside the real program."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for name in ("train_gazegaussian_optuna.py", "helpers"):
        (folder / name).symlink_to(repo_root / name)
    return folder


def start(root, state):
    """JupyterLab on a free port of the loopback interface, untouched by anyone's settings, and where it answers."""
    token = secrets.token_hex()
    folders = {f"JUPYTER_{name}_DIR": str(state / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{name}_DIR": str(state / name) for name in ("SETTINGS", "WORKSPACES")}
    quiet = {"BROWSER_PATH": "none", "IPYTHONDIR": str(state / "ipython")}  # PNGs of figures are test_notebooks' part
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # should another take it now, JupyterLab takes the next one
    args = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={root}"]
    args.append("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")  # without a network
    environment = {**os.environ, **folders, **quiet, "JUPYTER_TOKEN": token}
    with (state / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *args], env=environment, stderr=log, cwd=root)
    told = state / "RUNTIME" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + LIMIT
    while not told.exists() or not told.read_text().endswith("}"):
        assert server.poll() is None, (state / "log").read_text()
        assert time.monotonic() < deadline, (state / "log").read_text()
        time.sleep(0.1)
    return server, f"{json.loads(told.read_text())['url']}doc/tree/notebooks/{{}}?token={token}&reset"


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    server, address = start(root, tmp_path_factory.mktemp("state"))
    yield address
    started = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.terminate()
    _, alive = psutil.wait_procs(started, timeout=60)
    for process in alive:
        process.kill()
    assert len(started) > 1
    assert not alive, "kernels or dashboards that nobody ends"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def run_all(browser, lab, root, repo_root, name, **parameters):
    """Open a notebook of the product and run it; the page and the saved notebook."""
    path = root / "notebooks" / f"{name}.ipynb"
    nbformat.write(with_parameters_cell(repo_root / "notebooks" / path.name, **parameters), path)
    return run_file(browser, lab, path)


def run_file(browser, lab, path):
    """Open a notebook, run it by the menu and save it; the page and the saved notebook."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(1000 * LIMIT)
    page.goto(lab.format(path.name))
    page.get_by_text(IDLE).wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(RUN)
    with page.expect_response(lambda answer: "/api/contents/" in answer.url and answer.request.method == "PUT"):
        page.keyboard.press("Control+s")
    return page, nbformat.read(path, as_version=4)


def assert_ran(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_results_are_plots_with_a_point_per_trial_and_the_dashboard(browser, lab, root, repo_root, tmp_path):
    study = run_study(spec(tmp_path, pictured, trials=4))
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    page, notebook = run_all(browser, lab, root, repo_root, "03_read_results", out=str(tmp_path), studies=["toy"])
    assert_ran(notebook)
    history = page.locator(".js-plotly-plot").first
    history.scroll_into_view_if_needed()
    points = history.locator("svg .scatterlayer .points path")
    points.first.wait_for()
    assert points.count() == len(complete) + 1, "the baseline is marked once more"
    heights = [points.nth(number).bounding_box()["y"] for number in range(len(complete))]
    values = [trial.value for trial in complete]
    assert np.argsort(heights).tolist() == np.argsort(values)[::-1].tolist(), "higher is worse"
    page.frame_locator("iframe[src*='/dashboard']").get_by_text("1. toy").wait_for()
    for width in (1600, 1100, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_function(FITS)
    assert page.evaluate(TALL) < 9000, "tables are not folded"
    page.close()


def moved_to(page, slider, image, key, yaw):
    """Press a key on the slider and look at what is drawn then. [H, W, 3]"""
    before = image.get_attribute("src")
    slider.press(key)
    page.get_by_text(f"yaw {yaw:+d}°; head").first.wait_for()
    loaded = "([shown, before]) => shown.src != before && shown.complete && shown.naturalWidth"
    page.wait_for_function(loaded, arg=[image.element_handle(), before])
    image.evaluate("shown => shown.decode()")
    return np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB")).astype(float)


def test_a_slider_moved_by_the_keyboard_moves_the_rendered_eyes(browser, lab, root, repo_root, tmp_path):
    checkpoints = [str(path) for path in untrained_checkpoints(tmp_path)]
    data = heads()[1].root
    given = {"checkpoint": checkpoints[0], "compare": checkpoints, "data": str(data), "out": str(tmp_path)}
    page, notebook = run_all(browser, lab, root, repo_root, "04_redirect_gaze", **given)
    assert_ran(notebook)
    slider = page.locator(".widget-slider", has_text="Gaze yaw").first.get_by_role("slider")
    image = page.locator("img.widget-image").nth(1)  # beside the source
    people = People(data)
    low, high = people.limits()["gaze_yaw"]
    slider.press("Home")
    page.get_by_text(f"yaw {low:+d}°; head").first.wait_for()
    seen = [moved_to(page, slider, image, key, yaw) for key, yaw in (("End", high), ("Home", low), ("End", high))]
    page.close()
    change = np.abs(seen[1] - seen[0]).mean(-1)
    key = next(iter(people.names.values()))
    eyes = people.batch(key, people.most_frontal(key, SIZE), SIZE).eye_mask[0, 0].numpy().astype(np.uint8)
    eyes = np.asarray(Image.fromarray(eyes).resize(change.shape[::-1], Image.Resampling.NEAREST)).astype(bool)
    assert change[eyes].mean() > 3 * change[~eyes].mean()
    assert change[eyes].mean() > 2, "of 255"
    assert np.array_equal(seen[0], seen[2]), "what was compared is not the gaze alone"


CURVES = """
import sys, time
sys.path[:0] = [{root!r}]
from helpers.notebook.monitor_views import WidgetView
from helpers.study.progress import StudyProgress, TrialProgress
view = WidgetView()
view.begin(lambda: None)
for epochs in (1, 2, 3, 4):
    trial = TrialProgress(0, "running", epochs, (0.5,) * epochs)
    progress = StudyProgress("toy", "val_loss", True, (trial,), 0, 4, 8, 1.0, 9.0, None, None)
    view.show(progress)
    time.sleep(0.5 if epochs < 3 else 0)
view.end(progress, "Ended: done.")
"""


def test_live_curves_end_with_the_last_epoch_in_one_place(browser, lab, root, repo_root):
    cell = nbformat.v4.new_code_cell(CURVES.format(root=str(repo_root)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    path = root / "notebooks" / "curves.ipynb"
    nbformat.write(notebook, path)
    page, ran = run_file(browser, lab, path)
    assert_ran(ran)
    points = page.locator(".js-plotly-plot svg .scatterlayer .points path")
    points.nth(3).wait_for()
    assert points.count() == 4
    assert page.locator(".js-plotly-plot").count() == 1
    page.close()

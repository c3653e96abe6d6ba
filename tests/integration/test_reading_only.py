"""Every verb that reads, over a study that it may not write: the folder and what surrounds it are the same afterwards."""

import json
import os
import shutil
import sys
from wsgiref.util import setup_testing_defaults

import pytest
from export_support import finished_study  # noqa: F401  fixtures
from foreign_support import snapshot
from storage_faults_support import permissions_count
from synthetic_support import gaze_run, gaze_stage, heads, train

import helpers
import train_gazegaussian_optuna
from gazegaussian.utils.yaml_files import dump_yaml
from helpers.notebook import display as notebook
from helpers.notebook import results_display as results_views
from helpers.notebook.session import plan_study
from helpers.study.progress import progress
from helpers.web.merged_storage import stores_in
from helpers.web.server import make_app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")


def command(*args):
    """The command line, in this process; returns its exit code."""
    arguments = sys.argv
    sys.argv = ["script", *map(str, args)]
    try:
        train_gazegaussian_optuna.main()
    except SystemExit as ending:
        return ending.code
    finally:
        sys.argv = arguments
    return 0


def ask(app, path):
    environ = {"PATH_INFO": path}
    answer = []
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda status, headers, *more: answer.append(status)))
    return answer[0], body


def show_dashboard(folder, out):
    app = make_app(folder)
    for path in ("/dashboard", "/api/studies", "/api/studies/1", "/api/studies/1/param_importances", "/api/meta"):
        status, body = ask(app, path)
        assert status == "200 OK", (path, body)
    assert len(json.loads(ask(app, "/api/studies/1")[1])["trials"]) == 2


def open_in_notebooks(folder, out):
    notebook.newest_studies(folder.parent)
    (study,) = notebook.open_studies(folder.parent, folder.name).values()
    helpers.top_trials(study, 2, all_metrics=True, all_hyper_parameters=True, folder=folder)
    helpers.summary_rows(study)
    results_views.show_best_parameters(study, folder)
    results_views.show_spending(study, folder)
    assert (
        plan_study("meshhead", out=folder.parent, study_name=folder.name).is_comparable is True
    )  # it holds no settings to compare


def follow(folder, out):
    assert progress(folder).finished == 2
    (opener,) = stores_in(folder.parent).values()
    assert len(opener().get_all_studies()) == 1


def report(folder, out):
    assert command("report", folder, "--out", out / "report") == 0
    assert {"report.html", "report.md", "figures"} <= {path.name for path in (out / "report").iterdir()}
    assert command("report", folder, "--out", out / "report") == 0, "its own folder may be written again"


def export(folder, out):
    assert command("export", folder, "--out", out / "export", "--zip") == 0
    assert (out / "export.zip").exists()


def look_in_vain(folder, out):
    """What would write there is one line."""
    assert command("report", folder) == 2
    assert command("export", folder) == 2
    assert command("confirm", folder, "--top", "1", "--seeds", "1") == 2


VERBS = [show_dashboard, open_in_notebooks, follow, report, export, look_in_vain]


@pytest.fixture(scope="module")
def place(finished_study, tmp_path_factory):
    """A study with a report, in a folder with other things, none of which may be written."""
    place = tmp_path_factory.mktemp("theirs")
    shutil.copytree(finished_study, place / "small")
    (place / "small" / "notes.txt").write_text("theirs")
    (place / "beside.db").write_bytes(b"another file")
    yield place
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def locked(place):
    for path in sorted(place.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    place.chmod(0o555)
    with permissions_count():
        yield place
    place.chmod(0o755)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("may_write", [False, True], ids=["read-only", "writable"])
def test_reading_changes_nothing(place, tmp_path, monkeypatch, request, verb, may_write, capfd):
    if may_write and verb is look_in_vain:
        pytest.skip("it writes there")
    for name in ("home", "cwd", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.chdir(tmp_path / "cwd")
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not may_write:
        request.getfixturevalue("locked")
    before = snapshot(place)
    verb(place / "small", tmp_path / "out")
    assert snapshot(place) == before
    assert not list((tmp_path / "cwd").iterdir())
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert not [line for line in said.splitlines() if line.startswith("error:") and str(place) not in line]


def test_checkpoints_of_others_are_only_read(tmp_path, monkeypatch):
    """Rendered, evaluated, estimated with: nothing beside them changes."""
    run = gaze_run()
    train(gaze_stage(run), run, tmp_path / "theirs" / "training")
    data = shutil.copytree(heads()[0].root, tmp_path / "theirs" / "data")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = snapshot(tmp_path / "theirs")
    subject = next(data.glob("*.h5")).stem
    checkpoint = tmp_path / "theirs" / "training" / "best.pt"
    out = tmp_path / "out"
    out.mkdir()
    angles = ["--pitch", "0", "--yaw", "5"]
    assert (
        command(
            "redirect",
            checkpoint,
            "--data",
            data,
            "--subject",
            subject,
            *angles,
            "--out",
            out / "a.png",
            "--device",
            "cpu",
        )
        == 0
    )
    assert (
        command(
            "evaluate",
            checkpoint,
            "--data",
            data,
            "--split",
            "val",
            "--pairs",
            "2",
            "--out",
            out / "table",
            "--device",
            "cpu",
        )
        == 0
    )
    assert command("export", checkpoint.parent, "--out", out / "export") == 0
    assert command("data", "check", data) == 0
    assert snapshot(tmp_path / "theirs") == before
    assert not list((tmp_path / "cwd").iterdir())


def test_an_estimate_leaves_the_study_as_it_is(place, tmp_path, monkeypatch):
    config = tmp_path / "run.yaml"
    stored = helpers.load_study(place / "small").user_attrs["config"]
    config.write_text(dump_yaml(json.loads(stored)))
    study = tmp_path / "study.yaml"
    space = {"optim": {"lr": {"type": "float", "min": 1e-4, "max": 1e-2, "log": True}}}
    study.write_text(dump_yaml({"study_name": "small", "trials": 3, "search_space": space}))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = snapshot(place)
    args = ["--config", config, "--study", study, "--out", place, "--device", "cpu", "--epochs", "1"]
    assert command("estimate", "meshhead", *args) == 0
    assert snapshot(place) == before
    assert not list((tmp_path / "cwd").iterdir())


def test_the_check_sees_what_it_should(tmp_path):
    (tmp_path / "a").write_text("x")
    before = snapshot(tmp_path)
    for change in (
        lambda: (tmp_path / "b").touch(),
        lambda: (tmp_path / "a").write_text("y"),
        lambda: os.mkfifo(tmp_path / "c"),
    ):
        change()
        assert snapshot(tmp_path) != before
        before = snapshot(tmp_path)

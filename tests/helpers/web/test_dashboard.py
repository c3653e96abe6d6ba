"""The dashboard: one process on the loopback interface that only reads all studies of a folder and never outlives its caller."""

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from types import ModuleType, SimpleNamespace
from wsgiref.util import setup_testing_defaults

import optuna
import psutil
import pytest
from bottle import HTTPResponse
from browser_support import chromium
from dashboard_support import NONE, pictured
from importance_support import planted
from optuna.trial import TrialState
from study_support import line_train, run_study, spec

from gazegaussian.errors import ConfigError, UserError
from gazegaussian.training.hooks import Hook
from helpers import Dashboard, dashboard, load_study
from helpers.analysis.importance import FEW_TRIALS, parameter_importances
from helpers.reporting.report import summary
from helpers.reporting.study_note import write_note
from helpers.web.guard import guarded
from helpers.web.merged_storage import JoinedStorage, ReadOnlyError, stores_in
from helpers.web.page_filter import importances
from helpers.web.server import JoinedArtifacts, bind, make_app


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    first = run_study(spec(folder, pictured, study_name="first", trials=2, trial_name="run{number}", **NONE))
    write_note(first, summary(first, folder / "first"), folder / "first")
    several = {"metric": ["val_loss", "seconds"], "direction": ["minimize", "minimize"]}
    run_study(spec(folder, pictured, study_name="second", trials=1, **several, **NONE))
    return folder


@pytest.fixture(scope="module")
def board(out):
    opened = dashboard(out)
    yield opened
    opened.close()


def asked(board, path, content=None, method=None, **headers):
    """A request of somebody who has the token."""
    cookie = {"Cookie": f"gazegaussian-{board.port}={board._token}"}
    address = f"http://127.0.0.1:{board.port}{path}"
    return urllib.request.Request(address, content, headers=cookie | headers, method=method)


def get(board, path):
    with urllib.request.urlopen(asked(board, path), timeout=30) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_all_studies_with_their_trials_and_artifacts_are_served(board, out):
    listed = json.loads(get(board, "/api/studies")[0])["study_summaries"]
    assert [(study["study_name"], study["study_id"]) for study in listed] == [("first", 1), ("second", 2)]
    detail = json.loads(get(board, "/api/studies/1")[0])
    assert [trial["number"] for trial in detail["trials"]] == [0, 1]
    assert detail["objective_names"] == ["val_loss"]
    assert "Summary of the report" in detail["note"]["body"]
    assert "Trained: 16 epochs" in detail["note"]["body"]
    attributes = {row["key"]: row["value"] for row in detail["trials"][1]["user_attrs"]}
    assert attributes["name"] == "run1"
    assert "owner" not in attributes
    trial = json.loads(get(board, "/api/studies/2")[0])["trials"][0]
    assert {meta["filename"] for meta in trial["artifacts"]} == {
        "validation_images.png", "learning_curve.png", "metrics.csv"
    }  # fmt: skip
    for meta in trial["artifacts"]:
        content, kind = get(board, f"/artifacts/2/{trial['trial_id']}/{meta['artifact_id']}")
        assert content == (out / "second" / "artifacts" / meta["artifact_id"]).read_bytes()
        assert kind == meta["mimetype"]


def test_it_answers_here_alone_and_its_title_tells_nothing(board, out):
    places = [c.laddr for c in psutil.Process(board._process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(place.ip, place.port) for place in places] == [("127.0.0.1", board.port)]
    assert str(out) not in " ".join(psutil.Process(board._process.pid).cmdline()), "a URL would show its password so"
    assert dashboard(out) is board, "a cell that runs again would pile up processes"


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/api/studies/1"), ("POST", "/api/studies/1/rename"), ("PUT", "/api/studies/1/note")],
)
def test_nothing_can_be_changed(board, out, method, path):
    with pytest.raises(urllib.error.HTTPError, match="403") as rejected:
        urllib.request.urlopen(asked(board, path, b'{"study_name": "x"}', method), timeout=30)
    assert "only reads" in json.loads(rejected.value.read())["reason"]
    assert len(load_study(out / "first").trials) == 2


def test_only_this_machines_names_are_answered(board):
    """A foreign page whose name was made to lead here (DNS rebinding) reads nothing."""
    for host in ("evil.example", f"evil.example:{board.port}"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(asked(board, "/api/studies", Host=host), timeout=30)
    own = asked(board, "/api/studies", Host=f"localhost:{board.port}")
    assert urllib.request.urlopen(own, timeout=30).status == 200


def test_other_users_of_the_machine_read_nothing(board):
    """Everybody here reaches 127.0.0.1: the printed address holds a token, which becomes a cookie."""
    address = f"http://127.0.0.1:{board.port}"
    wrong = {"Cookie": f"gazegaussian-{board.port}=guessed"}
    for path in ("/api/studies", "/dashboard", "/dashboard?token=guessed", "/artifacts/1/1/00"):
        for headers in ({}, wrong):
            with pytest.raises(urllib.error.HTTPError, match="403") as rejected:
                urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=30)
            assert "token" in json.loads(rejected.value.read())["reason"]
    jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with jar.open(board.url, timeout=30) as page:
        assert page.url == f"{address}/dashboard", "the token would stay in the history"
    assert json.loads(jar.open(f"{address}/api/studies", timeout=30).read())["study_summaries"]
    assert board._token not in repr(board)
    assert board._token not in " ".join(psutil.Process(board._process.pid).cmdline())


def test_artifacts_run_nothing_in_the_browser(out):
    """They and their types come from whoever made the study."""
    trial = json.loads(_answer(make_app(out), "/api/studies/2")[2])["trials"][0]
    for meta in trial["artifacts"]:
        status, headers, _ = _answer(make_app(out), f"/artifacts/2/{trial['trial_id']}/{meta['artifact_id']}")
        assert status == "200 OK"
        assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Content-Disposition" not in headers, "PNG and CSV are shown"
    page = guarded(lambda environ, start: start("200 OK", [("Content-Type", "text/html")]) or [b"<script>"], None)
    assert _answer(page, "/artifacts/1/1/aa")[1]["Content-Disposition"] == "attachment"
    assert _answer(page, "/static/%00/\0")[0] == "400 Bad Request"


def _answer(app, path):
    answer = {}
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda status, headers, *more: answer.update(status=status, headers=dict(headers))))
    return answer["status"], answer["headers"], body


def test_links_among_the_artifacts_are_not_served(out, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    (tmp_path / "study" / "artifacts").mkdir(parents=True)
    (tmp_path / "study" / "artifacts" / "aa").symlink_to(secret)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "artifacts").symlink_to(tmp_path)
    for name in ("aa", "secret", "../secret"):
        with pytest.raises(HTTPResponse):
            JoinedArtifacts(tmp_path).open_reader(name)


def test_a_browser_shows_trials_and_pictures(board):
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)  # a busy machine takes its time
        page.goto(board.url)
        page.get_by_text("2. second").wait_for()
        for button in (page.get_by_label("delete study"), page.get_by_label("rename study")):
            assert button.count() == 2, "optuna-dashboard names it otherwise: helpers/web/page_filter.py hides nothing"
            assert not any(one.is_visible() for one in button.all())
        assert not page.get_by_text("Create", exact=True).is_visible()
        page.goto(f"http://127.0.0.1:{board.port}/dashboard/studies/1/trials?numbers=1")
        page.get_by_text("Trial 1 (trial_id=2)").wait_for()
        loaded = "() => [...document.images].some(i => i.src.includes('/artifacts/') && i.naturalWidth == 60)"
        page.wait_for_function(loaded)
        assert page.get_by_text("learning_curve.png").count() == 1
        assert not page.get_by_test_id("EditIcon").is_visible()


def test_it_is_shown_in_a_frame_of_another_page(board):
    """JupyterLab, at another host or port, shows it so: its cookies are a third party's there."""
    page_of_others = f'<iframe src="{board.url}" width="900" height="700"></iframe>'.encode()

    def answer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [page_of_others]

    server = bind(answer, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with chromium() as browser:
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(f"http://localhost:{server.server_port}/lab")
            page.frame_locator("iframe").get_by_text("2. second").wait_for()
    finally:
        server.shutdown()


def test_importances_are_those_of_the_figures_and_few_trials_give_none(board):
    assert json.loads(get(board, "/api/studies/1/param_importances")[0]) == {"param_importances": []}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(board, "/api/studies/99/param_importances")
    study = planted(20, 0)
    (drawn,) = importances(study._storage, study._study_id)
    figures = parameter_importances(study).parameters
    assert [(row["name"], row["importance"]) for row in drawn] == [(row.parameter, row.value) for row in figures]
    assert importances(planted(FEW_TRIALS - 1, 0)._storage, 0) == []


def test_a_page_that_the_browser_knows_is_whole_all_the_same(board):
    headers = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT", "Range": "bytes=0-9"}
    with urllib.request.urlopen(asked(board, "/dashboard/studies/1", **headers), timeout=30) as answer:
        page = answer.read().decode()
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert page.index("display: none") < page.index("</head>")
    assert page.rstrip().endswith("</html>")


def test_it_ends_with_the_process_that_started_it(out, repo_root):
    args = [sys.executable, "train_gazegaussian_optuna.py", "dashboard", str(out), "--json"]
    with subprocess.Popen(args, cwd=repo_root, stdout=subprocess.PIPE, text=True) as script:
        assert json.loads(script.stdout.readline())["ssh"].startswith("ssh -N -L ")
        servers = [p for p in psutil.Process(script.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        script.kill()  # nothing can tidy up after that
    assert len(servers) == 1
    gone, alive = psutil.wait_procs(servers, timeout=20)
    assert (len(gone), alive) == (1, []), "an orphan"


def test_waiting_ends_with_ctrl_c_and_with_the_server():
    ends = []

    def interrupted():
        raise KeyboardInterrupt

    for join, asked in ((interrupted, True), (lambda: None, False)):
        joins = iter([join, lambda: ends.append("joined")])
        process = SimpleNamespace(join=lambda joins=joins: next(joins)(), terminate=lambda: ends.append("ended"))
        assert Dashboard(8123, process).wait() is asked
    assert ends == ["ended", "joined"] * 2


def joined(folder):
    return JoinedStorage(lambda: stores_in(folder), ["owner"])


def test_the_joined_storage_gives_what_the_stores_hold(out):
    storage = joined(out)
    numbers = set()
    for study in storage.get_all_studies():
        opened = optuna.load_study(study_name=study.study_name, storage=storage)
        alone = load_study(out / study.study_name)
        for ours, theirs in zip(opened.trials, alone.trials, strict=True):
            assert (ours.number, ours.params, ours.values) == (theirs.number, theirs.params, theirs.values)
            assert ours.intermediate_values == theirs.intermediate_values
            assert storage.get_trial(ours._trial_id).number == ours.number
            numbers.add(ours._trial_id)
        assert opened.metric_names == (["val_loss"] if study.study_name == "first" else ["val_loss", "seconds"])
    assert len(numbers) == 3, "trials of two stores share a number"
    assert storage.get_best_trial(1).number == load_study(out / "first").best_trial.number
    with pytest.raises(KeyError):
        storage.get_all_trials(3)


def test_the_joined_storage_refuses_to_write(out):
    storage = joined(out)
    study = optuna.load_study(study_name="first", storage=storage)
    for change in (lambda: study.set_user_attr("x", 1), study.ask, lambda: storage.delete_study(1)):
        with pytest.raises(ReadOnlyError):
            change()


def test_studies_come_go_and_fail_without_the_others(tmp_path):
    run_study(spec(tmp_path, study_name="one", trials=1))
    storage = joined(tmp_path)
    names = lambda: [(s.study_name, s._study_id) for s in storage.get_all_studies()]  # noqa: E731
    assert names() == [("one", 1)]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "study.db").write_bytes(b"no database at all" * 100)
    assert names() == [("one", 1)]
    (tmp_path / "two" / "study.db").unlink()
    run_study(spec(tmp_path, study_name="two", trials=1))
    assert names() == [("one", 1), ("two", 2)]
    (tmp_path / "two").rename(tmp_path / "three")  # another store, so far as one can tell
    assert names() == [("one", 1), ("two", 3)]
    assert [t.state for t in storage.get_all_trials(3)] == [TrialState.COMPLETE]


def test_a_study_at_work_is_followed(tmp_path):
    seen = []

    class Look(Hook):
        def on_epoch_end(self, trainer, epoch, metrics):
            seen.append(len(storage.get_all_trials(1)[0].intermediate_values) if epoch else storage.get_all_studies())

    storage = joined(tmp_path)
    run_study(spec(tmp_path, lambda c, d, hooks, r: line_train(c, d, [Look(), *hooks], r), trials=1, **NONE))
    assert seen[1:] == list(range(1, 8))


def test_wrong_folders_storages_and_ports_are_one_line(tmp_path, out):
    with pytest.raises(ConfigError, match=r"No study in .* Run `study` first"):
        make_app(tmp_path)
    with pytest.raises(UserError) as told:
        make_app(tmp_path, "postgresql+psycopg://me:geheim@127.0.0.1:1/db")
    assert "geheim" not in str(told.value)
    assert "\n" not in str(told.value)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} cannot be used .*give another --port"):
            bind(make_app(out / "first"), port)
    with pytest.raises(ConfigError, match="1 to 65535"):
        dashboard(out, port=70000)


def test_colab_gets_a_frame_and_a_sentence_where_there_is_none(monkeypatch, caplog):
    asked = []

    def frame(port, path, height):
        if asked:
            raise RuntimeError("third-party cookies are blocked")
        asked.append((port, path))

    output = ModuleType("google.colab.output")
    output.serve_kernel_port_as_iframe = frame
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    monkeypatch.setattr(sys.modules["helpers.web.launcher"], "runtime_name", lambda: "Colab")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    board = Dashboard(8123, SimpleNamespace())
    board._ipython_display_()
    assert asked == [(8123, "/dashboard")]
    board._ipython_display_()
    assert "cookies are blocked" in caplog.text
    assert len(shown) == 2, "the other ways stand below, whatever the browser made of the frame"
    assert all("serve_kernel_port_as_window(8123" in sentence.data for sentence in shown)


@pytest.mark.parametrize("here", ["Kaggle", "Colab from VS Code"])
def test_where_no_page_of_the_runtime_can_be_shown_a_sentence_says_so(monkeypatch, here):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr(sys.modules["helpers.web.launcher"], "runtime_name", lambda: here)
    Dashboard(8123, SimpleNamespace())._ipython_display_()
    (sentence,) = shown
    assert f"{here} shows no page of the runtime" in sentence.data
    assert "dashboard FOLDER" in sentence.data


def test_in_a_cell_it_is_a_frame_a_link_and_the_way_from_elsewhere(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    Dashboard(8123, SimpleNamespace())._ipython_display_()
    frame, link = shown
    assert "ssh -N -L 8123:127.0.0.1:8123" in link.data
    assert "jupyterlab-optuna" in link.data
    assert frame.src == "http://127.0.0.1:8123/dashboard"

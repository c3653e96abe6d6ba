"""The cell that runs and watches a study: lines, widgets, curves, the Stop button, interrupts, resuming."""

import asyncio
import os
import queue
import signal
import time
from dataclasses import replace
from functools import partial

import pytest
from jupyter_client.manager import start_new_kernel
from optuna.trial import TrialState
from study_support import fake_train, run_study

from gazegaussian.errors import ConfigError
from helpers import load_study, stop
from helpers.notebook import log_box, monitor, monitor_views
from helpers.notebook.cli_process import Script
from helpers.notebook.live_curves import live_curves
from helpers.notebook.monitor_views import PlainView, WidgetView, sentences
from helpers.notebook.session import plan_study
from helpers.study.progress import StudyProgress, TrialProgress

STUDY = """
import logging, sys
from functools import partial
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from study_support import fake_train, spec
from helpers import run
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
try:
    run(spec(Path({out!r}), partial(fake_train, seconds={seconds}), trials=int(sys.argv[1])), figures=False, audit=False)
except KeyboardInterrupt:
    sys.exit(130)
"""
COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL
WAITING = TrialState.WAITING


@pytest.fixture
def program(tmp_path, repo_root, monkeypatch):
    """A script that runs a toy study with epochs of 0.2 s; looks are frequent."""
    path = tmp_path / "program.py"
    names = {"root": str(repo_root), "tests": str(repo_root / "tests" / "support"), "out": str(tmp_path)}
    path.write_text(STUDY.format(**names, seconds=0.2))
    monkeypatch.setattr(monitor, "Script", partial(Script, program=path))
    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0.1)
    return path


@pytest.fixture
def logged(monkeypatch):
    """What the box of the log shows, as it is updated."""
    forms = []
    monkeypatch.setattr(log_box, "display", lambda *_, **__: None)
    monkeypatch.setattr(log_box, "update_display", lambda bundle, **_: forms.append(bundle))
    return forms


def watch(tmp_path, view, trials=2):
    asyncio.run(monitor.run_and_watch(tmp_path / "toy", [str(trials)], view))


class Acting(PlainView):
    """Does something when a trial has trained three epochs, or as many as are given."""

    def __init__(self, act, epochs=3):
        super().__init__()
        self.act = act
        self.acted = False
        self.epochs = epochs

    def begin(self, stop):
        self.stop = stop

    def show(self, progress):
        super().show(progress)
        if any(trial.epochs >= self.epochs for trial in progress.running) and not self.acted:
            self.acted = True
            self.act(self)


def test_a_stopped_study_goes_on_when_the_cell_runs_again(tmp_path, program, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(monitor_views, "show_figure", drawn.append)
    watch(tmp_path, Acting(lambda view: view.stop()))
    said = capsys.readouterr().out
    assert "Stopped. Run this cell again to resume." in said
    assert [t.state for t in load_study(tmp_path / "toy").trials] == [FAIL, WAITING]
    watch(tmp_path, PlainView())
    said = capsys.readouterr().out
    assert "Ended: all 2 trials are finished." in said
    assert "progress - trials: 0 of 2 finished" in said
    assert "trial 1 finished: val_loss" in said, "the lines of the process are shown"
    assert [len(figure.data) for figure in drawn] == [1, 2]


def test_an_interrupt_stops_after_the_epoch_and_a_second_one_at_once(tmp_path, program, capsys):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(view):
        signal.raise_signal(signal.SIGINT)  # here and now; two of os.kill may become one when another thread takes them

    watch(tmp_path, Acting(interrupt))
    assert load_study(tmp_path / "toy").user_attrs["stop_reason"].startswith("stopped on request")
    program.write_text(program.read_text().replace("seconds=0.2", "seconds=2.0"))

    def twice(view):
        interrupt(view)
        interrupt(view)

    watch(tmp_path, Acting(twice, epochs=6))  # in an epoch, not while the trial is taken up again
    assert load_study(tmp_path / "toy").user_attrs["stop_reason"] == "interrupted"
    assert capsys.readouterr().out.count("Stopped. Run this cell again") == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failed_study_raises_its_last_line(tmp_path, program, capsys):
    program.write_text("import sys\nsys.exit('error: no such thing')")
    with pytest.raises(RuntimeError, match="exit code 1: error: no such thing"):
        watch(tmp_path, PlainView())


def progress_of(*trials, **changes):
    told = {"name": "toy", "metric": "val_loss", "minimize": True, "trials": trials, "waiting": 0, "wanted": 4}
    told |= {"epochs_per_trial": 8, "epoch_seconds": 60.0, "seconds_left": 1500.0, "best": (0, 0.25)}
    return StudyProgress(**{**told, "stop_reason": None, **changes})


TRIALS = (
    TrialProgress(0, "complete", 3, (0.5, 0.3, 0.25)),
    TrialProgress(1, "pruned", 2, (0.9, 0.8)),
    TrialProgress(2, "interrupted", 1, (0.7,)),
    TrialProgress(3, "failed", 1, (5.0,)),
    TrialProgress(4, "running", 2, (0.7, 0.6)),
)


def test_curves_tell_states_by_dash_and_width_too():
    drawn = live_curves(progress_of(*TRIALS))
    assert sorted(tuple(line.x) for line in drawn.data) == [(1,), (1, 2), (1, 2), (1, 2, 3)], "interrupted: left out"
    looks = {(line.line.dash, line.line.width, line.marker.symbol) for line in drawn.data}
    assert len(looks) == len(drawn.data)
    legend = sorted((line for line in drawn.data if line.showlegend), key=lambda line: line.legendrank)
    assert [line.name for line in legend] == ["best: trial 0", "running (1)", "pruned (1)", "failed (1)"]
    assert live_curves(progress_of(TrialProgress(0, "running", 0, ()))) is None


def test_words_say_how_far_it_is():
    shown = sentences(progress_of(*TRIALS))
    assert shown["trials"] == "2 of 4 finished (1 running, 1 complete, 1 pruned, 1 failed, 1 interrupted)"
    assert shown["running"] == "trial 4: epoch 3 of 8"
    assert shown["time left"] == "about 25 min"
    assert shown["best so far"] == "val_loss 0.25 (trial 0)"
    empty = sentences(progress_of(best=None, seconds_left=None, wanted=None))
    assert empty["trials"] == "0 of ? finished (none started)"


def test_widgets_are_labelled_and_follow_the_study(monkeypatch, logged):
    updates = []
    monkeypatch.setattr(monitor_views, "display", lambda *_, **__: None)
    monkeypatch.setattr(monitor_views, "update_display", lambda bundle, **_: updates.append(bundle))
    view = WidgetView()
    pressed = []
    view.begin(lambda: pressed.append(1))
    for _ in range(2):
        view.show(progress_of(*TRIALS))
    assert len(updates) == 1, "redrawn without a new epoch"
    assert (view.trials.description, view.trials.value, view.trials.max) == ("Trials", 2, 4)
    assert (view.epochs.description, round(view.epochs.value, 2), view.epochs.max) == ("Epochs now", 2, 8)
    assert "memory in use" in view.facts.value
    assert view.button.description == "Stop"
    view.button.click()
    assert pressed == [1]
    view.end(None, "Stopped.")
    assert view.button.disabled
    assert len(logged) == 1, "a line of progress without a new epoch"
    assert logged[0]["text/plain"].startswith("progress - trials: 2 of 4 finished")


def test_where_clicks_cannot_reach_the_cell_there_is_no_dead_button():
    clickable, other = WidgetView(), WidgetView(clickable=False)
    assert clickable.button in clickable.box.children
    assert other.button not in other.box.children
    assert "interrupt the cell" in other.box.children[-1].value


CELL = """
import sys
sys.path[:0] = [{root!r}]
from functools import partial
from pathlib import Path
from helpers.notebook import monitor
from helpers.notebook.cli_process import Script
monitor.Script, monitor.LOOK_SECONDS = partial(Script, program=Path({program!r})), 0.2
await monitor.run_and_watch(Path({folder!r}), ["9"])
"""


def test_a_click_in_a_real_kernel_stops_the_study(tmp_path, program, repo_root):
    """What a front end sends while the cell runs; the cell queued behind it runs afterwards."""
    environment = {**os.environ, "JPY_SESSION_NAME": "01.ipynb"}
    manager, client = start_new_kernel(env=environment)
    button = None
    text = ""
    kinds = set()
    clicked = False
    try:
        names = {"root": str(repo_root), "program": str(program), "folder": str(tmp_path / "toy")}
        client.execute(CELL.format(**names))
        client.execute("print('the next cell')")
        deadline = time.monotonic() + 120
        while "the next cell" not in text and time.monotonic() < deadline:
            try:
                message = client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            kind = message["msg_type"]
            content = message["content"]
            kinds.add(kind)
            assert kind != "error", content
            text += content.get("text", "")
            text += content["data"].get("text/plain", "") if kind == "update_display_data" else ""
            if kind == "comm_open" and content["data"]["state"].get("_model_name") == "ButtonModel":
                button = content["comm_id"]
            if "epoch 3 of 8" in text and not clicked:
                clicked = True
                data = {"method": "custom", "content": {"event": "click"}}
                client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": button, "data": data}))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert text.index("Stopped. Run this cell again") < text.index("the next cell")
    assert "update_display_data" in kinds, "the curves were not updated in place"
    assert "Warning" not in text
    assert load_study(tmp_path / "toy").user_attrs["stop_reason"].startswith("stopped on request")


def test_a_plan_goes_on_with_the_newest_study_or_begins_another(tmp_path):
    assert plan_study("meshhead", out=tmp_path).name == "meshhead_quick"
    for name in ("meshhead_quick", "meshhead_quick_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.db").touch()
    assert plan_study("meshhead", out=tmp_path).name == "meshhead_quick_2"
    assert plan_study("meshhead", out=tmp_path, resume=False).name == "meshhead_quick_3"
    assert plan_study("meshhead", out=tmp_path, study_name="wide").name == "wide"
    smoke = plan_study("meshhead", sizes="full", smoke=True, trials=99, epochs=99, out=tmp_path, study_name="wide")
    assert (smoke.name, smoke.sizes, smoke.trials, smoke.epochs) == ("meshhead_smoke", "quick", 2, 1)


def test_a_plan_refuses_what_cannot_work_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.notebook.session.run_script", lambda *args: pytest.fail(f"ran {args}"))
    with pytest.raises(ConfigError, match="quick, demo, full, got 'qick'"):
        plan_study("meshhead", sizes="qick", out=tmp_path)
    plan = plan_study("meshhead", epochs=2, out=tmp_path)
    begun = replace(plan._request(), train=fake_train, check=lambda config: None)
    run_study(replace(begun, study=begun.study.model_copy(update={"trials": 1})))
    with pytest.raises(ConfigError, match="epochs: 2 -> 3"):
        plan_study("meshhead", epochs=3, out=tmp_path).audit()


def test_a_plan_finds_back_to_the_study_with_its_settings(tmp_path):
    for epochs in (2, 1):
        plan = plan_study("meshhead", trials=1, epochs=epochs, out=tmp_path, resume=False)
        run_study(replace(plan._request(), train=fake_train, check=lambda config: None))
    names = [plan_study("meshhead", trials=1, epochs=epochs, out=tmp_path).name for epochs in (1, 2, 3)]
    assert names == ["meshhead_quick_2", "meshhead_quick", "meshhead_quick_2"]
    with pytest.raises(ConfigError, match="epochs: 1 -> 3"):
        plan_study("meshhead", epochs=3, out=tmp_path).audit()


def test_a_study_that_was_stopped_by_hand_is_not_exported_and_a_finished_one_not_estimated(
    tmp_path, monkeypatch, capsys
):
    ran = []
    monkeypatch.setattr("helpers.notebook.session.run_script", lambda *args: ran.append(args[0]))
    plan = plan_study("meshhead", trials=3, epochs=2, out=tmp_path)

    def stopped_after_one(config, run_dir, hooks, resume):
        stop(plan.folder)
        return fake_train(config, run_dir, hooks, resume)

    run_study(replace(plan._request(), train=stopped_after_one, check=lambda config: None, pool=None))
    plan.export()
    assert ran == []
    assert "Not exported" in capsys.readouterr().out
    plan.estimate()
    run_study(replace(plan._request(), train=fake_train, check=lambda config: None, pool=None))
    plan.estimate()
    assert "3 finished trials, 3 are asked for: nothing to estimate" in capsys.readouterr().out
    plan.export()
    assert ran == ["estimate", "export"]


def test_the_bar_of_epochs_moves_within_an_epoch_and_waits_for_its_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(monitor_views.time, "monotonic", lambda: now[0])
    pace = monitor_views.Pace()

    def looked(*epochs, seconds=10.0):
        trials = tuple(TrialProgress(number, "running", done, ()) for number, done in enumerate(epochs))
        return pace.epochs(StudyProgress("toy", "val_loss", True, trials, 0, 4, 8, seconds, 9.0, None, None))

    assert looked(2) == 2
    now[0] += 4
    assert looked(2) == pytest.approx(2.4)
    assert looked(2, 0) == pytest.approx(2.4), "another trial has just begun"
    now[0] += 60
    assert looked(2) == pytest.approx(2.95), "it has not ended"
    assert looked(3) == 3
    now[0] += 5
    assert looked(3, seconds=None) == 3, "nothing was measured"


def test_the_last_curves_stay_with_a_picture_and_the_table_has_a_cell_of_its_own(monkeypatch, logged):
    seen = []
    monkeypatch.setattr(monitor_views, "update_display", lambda forms, **_: seen.append(forms))
    monkeypatch.setattr(monitor_views, "bundle", lambda figure: {"image/png": "last"})
    view = WidgetView()
    trial = TrialProgress(0, "complete", 2, (0.5, 0.4))
    view.end(StudyProgress("toy", "val_loss", True, (trial,), 0, 1, 2, 1.0, 0.0, (0, 0.4), None, 0), "Ended.")
    assert seen[-1] == {"image/png": "last"}
    view.log(["epoch 1\n", '\x1etable ["t", ["a"], [["1"]]]\n'])
    assert logged[-1]["text/plain"] == "epoch 1"


def test_the_log_stays_in_a_box_that_scrolls_and_keeps_its_last_lines(logged):
    view = WidgetView()
    view.log([f"line {number}\n" for number in range(log_box.MOST_LINES + 5)])
    view.log([])
    view.log(["<b>last</b>\n"])
    assert len(logged) == 2, "updated without a new line"
    text = logged[-1]["text/plain"].splitlines()
    assert (text[0], text[1], text[-1]) == ("(6 earlier lines are left out)", "line 6", "<b>last</b>")
    page = logged[-1]["text/html"]
    assert f"max-height: {log_box.HEIGHT}; overflow-y: auto" in page
    assert "&lt;b&gt;last" in page


def test_stop_while_the_study_still_loads_ends_it_at_once(tmp_path, program, capsys):
    """An audit of minutes would go before the first epoch that could end."""
    loading = "import time\nprint('loading', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise SystemExit(130)\n"
    program.write_text(loading)

    class Clicking(PlainView):
        def begin(self, stop):
            self.stop = stop

        def log(self, lines):
            super().log(lines)
            if lines:
                self.stop()

    began = time.monotonic()
    watch(tmp_path, Clicking())
    assert time.monotonic() - began < 30
    said = capsys.readouterr().out.splitlines()
    assert said == ["loading", "Stopping before the first epoch.", "Stopped. Run this cell again to resume."]


@pytest.mark.parametrize(("finished", "starts"), [(1, 0), (2, 1)])
def test_the_browser_of_the_last_picture_starts_while_the_report_is_written(monkeypatch, finished, starts):
    begun = []
    monkeypatch.setattr(monitor_views, "prepare_figures", lambda: begun.append(1))
    trials = tuple(TrialProgress(number, "complete", 2, (0.5, 0.4)) for number in range(finished))
    PlainView().show(StudyProgress("toy", "val_loss", True, trials, 0, 2, 2, 1.0, 0.0, (0, 0.4), None, 0))
    assert len(begun) == starts

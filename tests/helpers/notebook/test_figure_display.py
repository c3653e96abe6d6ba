"""Figures in cells carry a PNG for pages that run no scripts, as long as that is quick."""

import base64
import io
from types import SimpleNamespace

import kaleido
import plotly.graph_objects as go
import pytest
from PIL import Image

from helpers.notebook import figure_display
from helpers.reporting.pngs import find_browser

PLOTLY = "application/vnd.plotly.v1+json"
PNG = "image/png"


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    fresh = figure_display._Renderer()
    monkeypatch.setattr(figure_display, "_renderer", fresh)
    return fresh


@pytest.fixture
def drawn_at_once(monkeypatch):
    monkeypatch.setattr(figure_display, "find_browser", lambda: "/bin/true")
    monkeypatch.setattr(figure_display, "draw_png", lambda *_: b"drawn")


def figure():
    return go.Figure(go.Scatter(x=[1, 2], y=[1, 3]), layout={"title": "A<br><sup>b</sup>", "width": 420, "height": 240})


@pytest.mark.skipif(find_browser() is None, reason="PNG figures need a browser")
def test_a_figure_is_shown_in_all_its_forms():
    try:
        forms = figure_display.bundle(figure())
    finally:
        kaleido.stop_sync_server(silence_warnings=True)
    assert {PLOTLY, PNG, "text/plain"} == forms.keys()
    assert Image.open(io.BytesIO(base64.b64decode(forms[PNG]))).size == (420, 240)


def test_without_a_browser_there_is_text(monkeypatch):
    monkeypatch.setattr(figure_display, "find_browser", lambda: None)
    forms = figure_display.bundle(figure())
    assert {PLOTLY, "text/plain"} == forms.keys()
    assert forms["text/plain"] == "Figure: A b"


def test_what_is_too_slow_is_left_out_from_there_on(monkeypatch, drawn_at_once, caplog):
    seconds = iter([0.0, 14.9, 20.0, 24.0])  # begin and end of each figure
    monkeypatch.setattr(figure_display, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert [PNG in figure_display.bundle(figure()) for _ in range(3)] == [True, True, False]
    assert caplog.messages == ["figures come without PNG from here on: 2 figures took 19 s"]


def test_a_broken_browser_stops_no_notebook(monkeypatch, drawn_at_once, caplog):
    def fail(*_, **__):
        raise RuntimeError("no browser process\nmore")

    monkeypatch.setattr(figure_display, "draw_png", fail)
    assert PNG not in figure_display.bundle(figure())
    assert "from here on: no browser process" in caplog.messages[0]


@pytest.mark.parametrize(
    ("here", "form"),
    [(place, "text/html") for place in ("Colab", "Kaggle")]
    + [(place, PLOTLY) for place in ("Colab from VS Code", "VS Code", "Jupyter", "Python")],
)
def test_no_front_end_gets_all_of_plotly_per_figure(monkeypatch, here, form):
    monkeypatch.setattr("helpers.utils.runtime.runtime_name", lambda: here)
    monkeypatch.setattr("plotly.io.renderers.default", "notebook_connected")  # whatever plotly itself would choose
    (kind,) = forms = figure_display.interactive(figure())
    assert kind == form
    assert len(str(forms)) < 50_000
    if form == "text/html":
        assert 'src="https://cdn.plot.ly/plotly-' in forms[kind]

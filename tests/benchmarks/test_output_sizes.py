"""No cell of a notebook shows more than 1 MB, whatever draws it."""

from __future__ import annotations

import json

import pytest

from benchmarks.study import output_sizes
from helpers.notebook import figure_display


@pytest.fixture(autouse=True)
def without_browser(monkeypatch):
    """PNGs take a browser seconds, and kilobytes."""
    monkeypatch.setattr(figure_display, "find_browser", lambda: None)


def test_no_output_is_above_a_megabyte_in_any_front_end(capsys):
    output_sizes.main(["--trials", "150", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["figure"] for row in rows} >= {"history", "parallel_coordinate", "rank", "contour", "learning curves"}
    for row in rows:
        for name in output_sizes.FRONT_ENDS:
            assert 1_000 < row[name] < output_sizes.MOST_BYTES, (row, name)


def test_an_output_above_a_megabyte_fails_the_benchmark(monkeypatch):
    monkeypatch.setattr(output_sizes, "FRONT_ENDS", {"Colab": "Colab"})
    monkeypatch.setattr(output_sizes, "SHOWN", {"01": ("history",)})
    monkeypatch.setattr(
        figure_display,
        "interactive",
        lambda figure: {"text/html": figure.to_html(full_html=False, include_plotlyjs=True)},
    )
    with pytest.raises(SystemExit, match=r"above 1 MB: history in 01"):
        output_sizes.main(["--trials", "12", "--json"])

"""A program that works in silence says so."""

import logging
import time

from gazegaussian.utils.progress import progress
from gazegaussian.utils.signs_of_life import SILENCE_SECONDS, resting, sign, signs_of_life


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "still at work" in record.getMessage()]


def test_nothing_is_silent_for_ten_seconds():
    assert SILENCE_SECONDS < 10


def test_silent_work_is_named_again_and_again(caplog):
    with caplog.at_level(logging.INFO), signs_of_life(0.1):
        logging.getLogger("somewhere").info("drawing the figures\nsecond line")
        time.sleep(0.5)
    assert len(lines(caplog)) >= 2
    assert all(line.endswith("s): drawing the figures") for line in lines(caplog))


def test_work_that_shows_something_needs_no_sign(caplog):
    with caplog.at_level(logging.INFO), signs_of_life(5.0):
        for _ in range(20):
            time.sleep(0.01)
            sign()
    assert not lines(caplog)


def test_who_waits_for_its_user_is_silent(caplog):
    with caplog.at_level(logging.INFO), signs_of_life(0.05), resting():
        time.sleep(0.3)
    assert not lines(caplog)


def test_a_bar_without_a_terminal_becomes_lines_before_it_is_taken_for_silent(caplog, monkeypatch):
    clock = iter(range(0, 1000, 3))  # each item takes three seconds
    monkeypatch.setattr("gazegaussian.utils.progress.time.monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO):
        list(progress(range(8), "heads"))
    assert caplog.messages == [
        "heads: 2 of 8, about 18 s left",
        "heads: 4 of 8, about 12 s left",
        "heads: 6 of 8, about 6 s left",
    ]


def test_a_slow_first_item_makes_no_forecast(caplog, monkeypatch):
    clock = iter([0.0, 60.0, 67.0, 68.0])  # the first item waits for processes to start
    monkeypatch.setattr("gazegaussian.utils.progress.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        list(progress(range(3), "heads", total=10))
    assert caplog.messages == ["heads: 1 of 10", "heads: 2 of 10, about 56 s left"]


def test_what_ends_soon_needs_no_line(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 7.0, 10.0])
    monkeypatch.setattr("gazegaussian.utils.progress.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        list(progress(range(4), "heads"))
    assert not caplog.messages

"""What a confirmation is going to compare is written down first; whatever differs afterwards is a further look."""

import logging

import pytest

from helpers.analysis.confirm_plan import Look, planned, record_look
from helpers.utils.files import write_json


@pytest.fixture
def folder(tmp_path):
    """A confirmation with a training that has finished."""
    training = tmp_path / "trial_0001_seed_0001"
    training.mkdir()
    write_json(training / "run.json", {"run": {}})
    return tmp_path


def test_other_test_people_are_a_further_look(folder, caplog):
    caplog.set_level(logging.WARNING)
    first = planned(3, ["trial_0001"], False, ["b", "a"])
    assert len(record_look(folder, first).looks) == 1
    assert len(record_look(folder, planned(3, ["trial_0001"], False, ["a", "b"])).looks) == 1
    assert not caplog.records
    assert len(record_look(folder, planned(3, ["trial_0001"], False, ["a", "c"])).looks) == 2
    assert "3 of 1 on other test people: this counts as look 2" in caplog.text


def test_a_plan_that_names_no_people_gets_those_of_the_next_call(folder):
    write_json(folder / "plan.json", {"looks": [{"seeds": 3, "candidates": ["trial_0001"]}]})
    with_people = planned(3, ["trial_0001"], False, ["a"])
    assert record_look(folder, with_people).looks == (with_people,)
    assert record_look(folder, planned(3, ["trial_0001"], False, ["b"])).looks == (
        with_people,
        Look(3, ("trial_0001",), False, ("b",)),
    )

"""The audit's planted cases: faults are rejected for what they are, good parameters are not, and the word is true."""

import pytest

from benchmarks.calibration.audit import audited, summary
from benchmarks.calibration.planted_cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.truth} {case.what}")
def test_a_planted_parameter_is_judged_right(case, tmp_path):
    outcome = audited(case, tmp_path)
    assert outcome.right, f"{case.truth}, but {outcome.row.word}: {outcome.row.verdict}"


def test_the_table_counts_every_kind():
    truths = [case.truth for case in CASES]
    assert truths.count("good") >= 30
    assert {kind: truths.count(kind) >= least for kind, least in {"unread": 15, "luck": 4, "bends": 12}.items()} == {
        "unread": True,
        "luck": True,
        "bends": True,
    }


def test_the_summary_names_what_went_wrong(tmp_path):
    case = next(case for case in CASES if case.what == "no such term")
    right = audited(case, tmp_path)
    wrong = type(right)(type(case)(case.what, "good", case.plant), right.row)
    told = summary([right, wrong])
    assert "faults: 1, rejected 1, missed 0" in told
    assert "good parameters: 1, false alarms 1" in told
    assert "no such term (good): rejected" in told

"""An interrupted trial reads interrupted, with the trial that goes on from it, wherever states are shown."""

from optuna.trial import TrialState
from report_support import BASE, EPOCHS, failed, study_of

from helpers import study_figures, summary_rows
from helpers.analysis.importance import parameter_importances
from helpers.reporting.report import report_sections

BEFORE = {"epochs": 6, "seconds": 12.0}
CUT = (TrialState.FAIL, 1.0, 6, {"seconds": 12.0, "fail_reason": "interrupted"}, 1e-3)
AGAIN = (TrialState.COMPLETE, 0.7, EPOCHS, {"seconds": 21.0, "resume_of": 1, "inherited": BEFORE}, 1e-3)


def planted():
    return study_of(BASE, CUT, AGAIN, failed("NonFiniteError: bad loss"))


def test_tables_name_the_state_and_the_successor():
    study = planted()
    rows = summary_rows(study)
    assert [row["state"] for row in rows] == ["COMPLETE", "INTERRUPTED", "COMPLETE", "FAIL"]
    assert rows[1]["note"] == "interrupted; trial 2 resumes it"
    assert rows[3]["note"] == "NonFiniteError: bad loss; to do: a smaller largest lr"
    assert study.trials[1].state == TrialState.FAIL, "Optuna's own state changed"


def test_a_trial_that_still_waits_is_a_successor_too():
    study = study_of(BASE, CUT)
    study.enqueue_trial({"lr": 1e-3}, user_attrs={"resume_of": 1})
    assert [row["state"] for row in summary_rows(study)] == ["COMPLETE", "INTERRUPTED", "WAITING"]


def test_the_timeline_tells_them_apart():
    bars = {bar.name: bar for bar in study_figures(planted())["timeline"].data}
    assert tuple(bars["INTERRUPTED"].y) == (1,)
    assert tuple(bars["FAIL"].y) == (3,)
    assert tuple(bars["COMPLETE"].y) == (0, 2)
    assert len({bar.marker.color for bar in bars.values()}) == 3
    first, again = bars["COMPLETE"].text
    assert again.startswith("resumes trial 1: its epochs and seconds count 6 epochs and 12.0 s from before<br>")
    assert "resumes" not in first + bars["FAIL"].text[0]
    assert bars["INTERRUPTED"].hovertemplate.endswith("<extra>INTERRUPTED</extra>")


def test_the_report_counts_and_names_them(tmp_path):
    study = planted()
    sections = {s.title: s for s in report_sections(study, tmp_path, parameter_importances(study))}
    text = " ".join(sections["Spent and saved"].lines)
    assert "4 trials: 2 complete, 1 interrupted, 1 fail." in text
    assert "2 from 1" in text
    assert [row["problem"] for row in sections["Problems and what to change"].rows] == [
        "1 failed: NonFiniteError: bad loss"
    ]

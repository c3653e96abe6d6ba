"""The dashboard's note of a study is the report's summary, and never takes a person's own text away."""

from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note
from report_support import BASE, EPOCHS, study_of
from sqlalchemy.exc import OperationalError
from study_support import run_study, spec

from helpers import load_study, report
from helpers.reporting.study_note import BEGIN, END, write_note

BEST = (TrialState.COMPLETE, 0.5, EPOCHS, {"seconds": 20.0}, 2e-3)


def versions(study):
    return {
        name: value for name, value in study._storage.get_study_system_attrs(study._study_id).items() if "note" in name
    }


def test_the_owners_report_writes_the_note_and_one_elsewhere_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.reporting.figures.find_browser", lambda: None)
    study = run_study(spec(tmp_path, trials=3))
    folder = tmp_path / "toy"
    report(load_study(folder), folder, tmp_path / "elsewhere")
    assert get_note(load_study(folder)) == ""
    report(study, folder)
    note = get_note(load_study(folder))
    assert note.startswith(BEGIN)
    assert note.endswith(END)
    assert "| parameter |" in note
    assert "Trained: " in note
    before = versions(load_study(folder))
    report(load_study(folder), folder)
    assert versions(load_study(folder)) == before, "nothing new was written"
    save_note(study, "")
    report(load_study(folder), folder)
    assert get_note(load_study(folder)) == note, "a study that was opened for reading, as `report` and `confirm` do"


def test_what_a_person_wrote_stays_once(tmp_path):
    study = study_of(BASE, BEST)
    save_note(study, "My own words.")
    for value in ("first", "second"):
        write_note(study, [value], tmp_path)
    assert get_note(study) == f"{BEGIN}\n\nsecond\n\n{END}\n\nMy own words."
    save_note(study, f"Above.\n\n{get_note(study)}")
    write_note(study, ["third"], tmp_path)
    assert get_note(study) == f"{BEGIN}\n\nthird\n\n{END}\n\nAbove.\n\nMy own words."


def test_a_store_that_cannot_be_written_costs_the_note_alone(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OperationalError("INSERT", {}, Exception("attempt to write a readonly database"))

    monkeypatch.setattr("optuna_dashboard.save_note", refuse)
    write_note(study_of(BASE, BEST), ["text"], tmp_path)
    assert "note of" in caplog.messages[-1]
    assert "readonly" in caplog.messages[-1]

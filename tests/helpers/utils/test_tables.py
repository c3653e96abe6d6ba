"""Tables of commands, in a terminal and in a cell."""

import logging
import re
from types import SimpleNamespace

import pytest

from gazegaussian.evaluation.results import Measured
from gazegaussian.evaluation.table import GIVES_WAY, TITLES, table_rows
from helpers.analysis.audit import AuditReport
from helpers.analysis.audit_checks import AuditRow
from helpers.results import tables as results
from helpers.search.space import load_study_file
from helpers.utils import files, plain_text, tables
from helpers.utils.tables import CELL_VARIABLE, is_table, print_table, show_line, show_table

ROWS = [{"what": "memory", "value": 0.19436, "none": None}, {"what": "<b> & disk", "value": 3, "none": ""}]


def test_the_published_values_give_way_to_what_was_measured(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    measured = {name: Measured(1.234, 1.1, 1.3, "the judge, on all pairs", 20.0) for name in TITLES}
    print_table("Evaluation", table_rows(SimpleNamespace(metrics=measured)), GIVES_WAY)
    *lines, note = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert note == "not shown: source as it is, GazeGaussian (published), GazeNeRF (published) (--wide shows all)"
    assert "the judge" in "".join(lines)
    assert lines[1][-1] == "┓", "the right border"


def study_row(repo_root, **changes):
    file = load_study_file(repo_root / "configs" / "studies" / "gazegaussian" / "quick.yaml", "gazegaussian")
    row = {"trial": 10, "state": "baseline PRUNED", "value": 0.19436, "epochs": 8, "seconds": 51.1}
    note = {"note": "interrupted; trial 6 goes on from it"}
    return list(file.parameters), {**row, **dict.fromkeys(file.parameters, 0.0123456), **note, **changes}


def test_the_wide_table_of_a_whole_gazegaussian_study_breaks_no_word(repo_root, capsys):
    parameters, row = study_row(repo_root)
    print_table("wide", [row], parameters, wide=True)
    shown = capsys.readouterr().out
    header = shown.split("┡")[0]
    pieces = [piece for name in parameters for piece in name.split("_")]
    assert all(header.count(piece) >= pieces.count(piece) for piece in pieces)
    assert "not shown" not in shown


@pytest.mark.parametrize("columns", [80, 120])
def test_parameters_give_way_to_state_and_value(repo_root, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    parameters, row = study_row(repo_root)
    print_table("Study", [row], parameters)
    *lines, note = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    cells = next(line for line in lines if "│ 10" in line)
    assert "│ baseline PRUNED │ 0.1944 │ 8 " in cells
    shown = cells.count("0.01235")
    assert note == f"not shown: {', '.join(parameters[shown:])} (--wide shows all)"
    assert (shown > 0) is (columns > 80)


def test_an_audit_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    row = AuditRow("orthogonality_loss_importance", (0.001, 0.01), True, False, 12.0, "only its scale counts here")
    report = AuditReport((row,), 12.0)
    print_table("Audit", report.rows(), report.GIVES_WAY)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("│ orthogonality_loss_importance │ yes " in line for line in lines)


def test_a_confirmation_fits_80_columns_with_its_interval(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["configuration", "mean val_loss", "standard deviation", "finished", "improvement", "95% low", "95% high"]
    wins = "wins a new seed (95%)"
    rows = [
        {**dict.fromkeys([*names, "seeds won"], 0.1234), "configuration": f"trial {n}", wins: f"{n}5% to 95%"}
        for n in range(4)
    ]
    print_table("Confirmation", rows)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(name in said for name in [*names, wins])
    (line,) = (line for line in lines if wins in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [wins, *(f"{n}5% to 95%" for n in range(4))]


def test_a_table_that_nothing_makes_fit_keeps_its_rows(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_table("Wide", [{f"column {n}": f"{m} of {n}" for n in range(9)} for m in range(9)])
    assert "0 of 0" in capsys.readouterr().out


def test_a_cell_shows_a_table_as_html_and_the_same_lines_as_text(monkeypatch, capsys):
    print_table("Estimate", ROWS)
    drawn = capsys.readouterr().out
    monkeypatch.setenv(CELL_VARIABLE, "1")
    print_table("Estimate", ROWS)
    line = capsys.readouterr().out
    assert is_table(line)
    assert line.count("\n") == 1, "lines of a process are read one by one"
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    show_line(line)
    assert shown[0]["text/plain"] == drawn
    html = shown[0]["text/html"]
    assert re.findall("<caption>(.*)</caption>", html) == ["Estimate"]
    assert re.findall("<th [^>]*>(.*)</th>", html) == ["what", "value"]
    assert re.findall("<td [^>]*>(.*)</td>", html) == ["memory", "0.1944", "&lt;b&gt; &amp; disk", "3"]


def test_wide_tables_may_be_broken_at_underscores_and_keep_room_for_sentences(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle["text/html"]))
    note = "interrupted; trial 6 goes on from it"
    show_table("Trials", [{"orthogonality_loss_importance": 0.0123456, "note": note}])
    assert "orthogonality_<wbr>loss_<wbr>importance" in shown[0]
    assert re.search(r"td.col1 {\s*min-width", shown[0])
    assert "td.col0 {" not in shown[0]


def test_other_lines_pass_unchanged(capsys):
    show_line("epoch 1/8 - ┃ a line\n")
    assert capsys.readouterr().out == "epoch 1/8 - ┃ a line\n"
    assert not is_table("epoch 1/8")


HOSTILE = "OSError: cannot read [/data/subject0004.h5] [bold]x[/] :smile: \x1b[2J\x07"


def test_brackets_and_control_characters_are_shown_as_they_are(capsys, monkeypatch):
    """A reason is no markup of rich, and no command of a terminal."""
    monkeypatch.delenv(tables.CELL_VARIABLE, raising=False)
    tables.print_table(f"Study {HOSTILE}", [{"note": HOSTILE, "[/x]": 1.5}])
    said = capsys.readouterr().out
    assert "[/data/subject0004.h5]" in said
    assert "[bold]x[/] :smile:" in said
    assert "[/x]" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_text_from_elsewhere_is_inert_in_markdown_csv_and_logs(tmp_path):
    assert results.cell("![x](http://a.example/x.png)|<b>\x1b\n# y") == "!\\[x\\](http://a.example/x.png)\\|&lt;b> # y"
    rows = [{"note": "=cmd|' /C calc'!A0", "x": -1.5, "=a": "@b", "n": "-3e-4", "p": "+49 30", "t": "\t=1"}]
    (header, line) = files.write_csv(tmp_path / "a.csv", rows).read_text().splitlines()
    assert header == "note,x,'=a,n,p,t"
    assert line == "'=cmd|' /C calc'!A0,-1.5,'@b,-3e-4,'+49 30,'=1"
    record = logging.LogRecord("x", logging.INFO, "", 1, "a\x1b[2Jb\nc\r\x07", None, None)
    assert plain_text.PrintableFormatter("%(message)s").format(record) == "a [2Jb\nc  "

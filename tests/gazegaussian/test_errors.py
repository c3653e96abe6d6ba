"""What an error says in one line, whatever it carries."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from gazegaussian.errors import DataError, UserError, class_and_line, first_line
from helpers.notebook.cli_process import ScriptInterrupted


@pytest.mark.parametrize(
    ("error", "line", "with_class"),
    [
        (ValueError("one"), "one", "ValueError: one"),
        (ValueError("  one \ntwo\nthree"), "one", "ValueError: one"),
        (ValueError("\n\r\n \t\none\ntwo"), "one", "ValueError: one"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError(""), "ValueError", "ValueError"),
        (ValueError(" \n "), "ValueError", "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (KeyError("name"), "'name'", "KeyError: 'name'"),
        (UserError("a\nb"), "a b", "UserError: a b"),
    ],
)
def test_an_error_has_a_line(error, line, with_class):
    assert first_line(error) == line
    assert class_and_line(error) == with_class


@pytest.mark.parametrize(("text", "line"), [("", ""), ("\n \n", ""), (" a \nb", "a"), ("\u2028a\x85b", "a")])
def test_a_text_has_a_line_or_none(text, line):
    assert first_line(text) == line


def test_a_cell_shows_the_line_alone(capsys):
    shell = InteractiveShell()
    shell.user_ns["error"] = DataError("no such folder")
    assert not shell.run_cell("raise error").success
    assert capsys.readouterr().out.strip() == "DataError: no such folder"
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out, "what is not the user's keeps its frames"


def test_an_interrupted_script_is_one_line_and_ends_the_cell(capsys):
    shell = InteractiveShell()
    shell.user_ns["error"] = ScriptInterrupted()
    assert not shell.run_cell("raise error").success
    assert capsys.readouterr().out.strip() == "Interrupted. Run this cell again to resume."

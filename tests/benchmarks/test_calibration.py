"""The short form of `benchmarks.calibration`: the statements hold in simulated studies, and one that does not is found."""

import numpy as np

from benchmarks.calibration import __main__ as calibration
from benchmarks.calibration import estimators
from benchmarks.calibration.checks import Row, false_better

RUNS = 60


def test_every_statement_holds(capsys):
    assert calibration.main(["--runs", str(RUNS)]) == 0, capsys.readouterr().out
    text = capsys.readouterr().out
    assert text.count("| yes |") > 60
    assert "| NO |" not in text


def test_candidates_that_are_not_corrected_for_are_found(monkeypatch):
    monkeypatch.setattr("helpers.analysis.confirm_report.corrected_level", lambda candidates, looks: 0.95)
    planned, later = false_better(np.random.default_rng(0), 600, tops=[5], planned_seeds=[5])
    assert not planned.holds
    assert not later.holds


def test_the_interval_of_earlier_versions_is_found():
    assert not Row("coverage", "5 seeds", None, 850, 1000, (0.93, 0.97)).holds
    assert not Row("coverage", "5 seeds", None, 995, 1000, (0.93, 0.97)).holds
    assert Row("coverage", "5 seeds", None, 945, 1000, (0.93, 0.97)).holds


def test_the_interval_that_was_chosen_covers_where_seeds_alone_do_not():
    generator = np.random.default_rng(0)
    covered = dict(zip(estimators.NAMES, estimators.coverage(generator, 400, (5, 8), 1.0, 3.0), strict=True))
    assert covered["seeds"] < 0.75
    assert 0.93 <= covered["quadrature"] <= 0.99
    few = dict(zip(estimators.NAMES, estimators.coverage(generator, 400, (10, 2), 0.1, 0.3), strict=True))
    assert few["quadrature less rest"] < 0.92 < few["quadrature"]
    assert 0 < estimators.joint_gain(generator, 40_000, 5, 10) < 0.04


def test_people_that_agree_leave_the_t_of_seeds(capsys):
    differences = np.random.default_rng(1).standard_normal((3, 5, 1)) + np.zeros((1, 1, 4))
    alone, _, *others = estimators.half_widths(differences)
    np.testing.assert_allclose(others, [alone] * len(others))
    estimators.main(["--runs", "20"])
    assert capsys.readouterr().out.count("| ") > 50

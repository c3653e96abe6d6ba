"""A run opens its study's store once and checks its machine once."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from study_support import fake_train, spec

import helpers
from helpers.analysis import audit
from helpers.storage import backends


@pytest.fixture
def openings(monkeypatch):
    """Kinds of openings: each checks all pages of the database."""
    seen = []
    for name in ("_open_sqlite", "_read_sqlite"):
        method = getattr(backends, name)
        monkeypatch.setattr(backends, name, lambda *args, name=name, method=method: seen.append(name) or method(*args))
    return seen


@pytest.mark.parametrize("figures", [False, True])
def test_a_run_opens_its_store_once(tmp_path, openings, figures):
    for trials, why in ((1, "created"), (2, "resumed"), (2, "complete"), (2, "complete and reported")):
        openings.clear()
        study = helpers.run(spec(tmp_path, trials=trials), audit=False, figures=figures)
        assert len(study.trials) == trials
        assert openings == ["_open_sqlite"], why


def test_a_run_checks_its_machine_once(tmp_path, monkeypatch):
    events = []
    passed = SimpleNamespace(raise_if_failed=lambda: None)
    monkeypatch.setattr(audit, "audit_study", lambda asked: events.append("audit") or passed)
    asked = replace(
        spec(tmp_path, lambda *args: events.append("train") or fake_train(*args), trials=1),
        check=lambda config: events.append(f"check {config.training.monitor}"),
    )
    helpers.run(asked, figures=False)
    assert events == ["check val_loss", "audit", "train"], "the metric that the study names is checked, too"

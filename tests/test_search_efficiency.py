"""Replayed studies see what was recorded, and the numbers say what happened: planted tables."""

import json
import math

import numpy as np
import optuna
import pytest

from benchmarks.search_efficiency.__main__ import compare, component
from benchmarks.search_efficiency.curves import Curve, Header
from benchmarks.search_efficiency.replay import RecordedSampler, Replay, Trial, best_after_one_epoch, replay
from benchmarks.search_efficiency.summary import bootstrap, markdown, median, summarise
from benchmarks.search_efficiency.table import Table
from gazegaussian.errors import ConfigError
from helpers.study_file import Component

EPOCHS, ROWS = 8, 120
SPACE = {
    "lr": {"type": "float", "min": 1e-5, "max": 1e-1, "log": True},
    "width": {"type": "categorical", "choices": [16, 32, 64]},
    "idle": {"type": "float", "min": 0.0, "max": 1.0},
}
T = np.arange(EPOCHS)


@pytest.fixture(autouse=True)
def _quiet():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


def planted(curves, params, space=SPACE, direction="minimize", statuses=None):
    study = {"study_name": "planted", "trials": 5, "direction": direction, "search_space": {"all": space}}
    header = Header("meshhead", EPOCHS, 0, {}, study, "", "")
    rows = zip(curves, params, statuses or ["complete"] * len(curves), strict=True)
    return Table(
        header, [Curve(i, p, s, tuple(v), (1.0,) * len(v), (1.0,) * len(v), 0.0, 0) for i, (v, p, s) in enumerate(rows)]
    )


def valley(noise=0.0, direction="minimize"):
    """The best lr is 1e-3; nothing else matters; curves never cross without noise."""
    generator = np.random.default_rng(0)
    params = [
        {"lr": float(10 ** generator.uniform(-5, -1)), "width": int(generator.choice([16, 32, 64])), "idle": idle}
        for idle in generator.uniform(size=ROWS)
    ]
    sign = 1 if direction == "minimize" else -1
    finals = [(np.log10(p["lr"]) + 3) ** 2 for p in params]
    curves = [sign * (f + np.exp(-0.5 * T) + noise * generator.normal(size=EPOCHS)) for f in finals]
    return planted([[float(v) for v in curve] for curve in curves], params, direction=direction)


def named(name, **kwargs):
    return Component(name=name, kwargs=kwargs)


def test_a_study_sees_recorded_configurations_once_each_with_their_own_curves():
    table = valley(noise=0.3)
    found = replay(table, named("tpe"), named("none"), seed=3, trials=20, budget=0)
    rows = [trial.row for trial in found.trials]
    assert rows[0] == 0  # the baseline
    assert len(set(rows)) == len(rows) == 20
    assert all(trial.value == min(table.curves[trial.row].values) for trial in found.trials)
    assert found.epochs(20) == 20 * EPOCHS
    assert found.price(20) == 0.0
    assert found.trials == replay(table, named("tpe"), named("none"), seed=3, trials=20, budget=0).trials
    assert found.trials != replay(table, named("tpe"), named("none"), seed=4, trials=20, budget=0).trials


def test_the_nearest_unused_row_counts_what_matters():
    table = valley()
    assert table.weights.sum() == pytest.approx(1)
    assert table.weights[0] > 0.7
    for row in (5, 17):
        near = {**table.curves[row].params, "idle": 1 - table.curves[row].params["idle"]}
        found = table.nearest(near, [])
        assert abs(table.points[found, 0] - table.points[row, 0]) < 0.02
        assert table.nearest(table.curves[row].params, []) == row
        assert table.nearest(table.curves[row].params, [row]) != row
    with pytest.raises(IndexError):
        table.nearest({"lr": 1e-3, "width": 16, "idle": 0.5}, range(ROWS))


def test_a_parameter_that_does_not_act_separates_rows():
    space = {
        "width": {"type": "categorical", "choices": [16, 32]},
        "idle": {"type": "float", "min": 0.0, "max": 1.0, "when": {"width": 32}},
    }
    params = [{"width": 16}, {"width": 32, "idle": 0.0}, {"width": 32, "idle": 1.0}] * 2
    table = planted([[float(i)] * EPOCHS for i in range(6)], params, space)
    assert table.nearest({"width": 32, "idle": 0.9}, [0]) == 2
    assert table.nearest({"width": 16}, [0]) == 3
    found = replay(table, named("tpe"), named("none"), seed=0, trials=6, budget=0)
    assert sorted(trial.row for trial in found.trials) == list(range(6))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_learning_samplers_beat_random_search_on_the_table(direction):
    table = valley(direction=direction)
    best = {
        name: [abs(replay(table, named(name), named("none"), s, 25, 0).best(25)) for s in range(12)]
        for name in ("tpe", "random")
    }
    assert np.mean(best["tpe"]) < np.mean(best["random"])


def test_pruning_on_curves_that_never_cross_saves_epochs_and_loses_nothing():
    table, pruner = valley(), named("median", n_startup_trials=3, n_warmup_steps=1)
    for seed in range(5):
        pruned = replay(table, named("random"), pruner, seed, trials=20, budget=0)
        whole = replay(table, named("random"), named("none"), seed, trials=20, budget=0)
        assert [t.row for t in pruned.trials] == [t.row for t in whole.trials]
        assert pruned.epochs(20) < 0.7 * whole.epochs(20)
        assert pruned.best(20) == whole.best(20)
        assert pruned.price(20) == 0.0


def test_a_lost_winner_is_found_out_and_priced():
    """Row 8 starts worst and ends best: one epoch says the opposite of the whole curve."""
    curves = [[0.5 + 0.01 * i] * EPOCHS for i in range(8)] + [[9.0, *[0.1] * (EPOCHS - 1)]]
    params = [{"lr": 10 ** (-4 + 0.3 * i), "width": 16, "idle": 0.5} for i in range(9)]
    table = planted(curves, params)
    hasty = named("median", n_startup_trials=1, n_warmup_steps=0)
    lost = 0
    for seed in range(8):
        found = replay(table, named("random"), hasty, seed, trials=9, budget=0)
        price = found.price(9)
        assert price == pytest.approx(0.4) or price == 0.0
        assert (price > 0) == next(trial.pruned for trial in found.trials if trial.row == 8)
        lost += price > 0
    assert lost
    assert best_after_one_epoch(table, 3, 0, trials=9, budget=1).price(9) == pytest.approx(0.4)


def test_best_after_one_epoch_pays_one_epoch_for_most():
    table = valley()
    found = best_after_one_epoch(table, keep=3, seed=1, trials=30, budget=1)
    assert found.epochs(30) == 30 + 3 * (EPOCHS - 1)
    drawn = [table.result(trial.row) for trial in found.trials]
    assert found.best(30) == min(drawn)  # the first epoch ranks as the last does
    assert best_after_one_epoch(table, 3, 1, trials=30, budget=10_000).epochs(ROWS) == ROWS + 12 * (EPOCHS - 1)


def test_diverged_configurations_cost_their_epochs_and_give_no_value():
    params = [{"lr": 1e-3, "width": 16, "idle": i / 4} for i in range(4)]
    curves = [[0.5] * EPOCHS, [0.1, 0.1, None], [0.01, 0.01], [0.4] * EPOCHS]
    table = planted(curves, params, statuses=["complete", "diverged", "failed", "complete"])
    found = replay(table, named("random"), named("median"), 0, trials=4, budget=0)
    assert {trial.row: trial.epochs for trial in found.trials} == {0: EPOCHS, 1: 3, 2: 2, 3: EPOCHS}
    assert found.best(4) == 0.4
    assert not any(trial.pruned for trial in found.trials)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_epochs_until_a_target_and_best_within_a_budget(direction):
    sign = 1 if direction == "minimize" else -1
    trials = (Trial(0, 8, sign * 0.5), Trial(1, 3, None, True), Trial(2, 8, sign * 0.3))
    found = Replay(valley(direction=direction), trials)
    assert found.epochs_until(sign * 0.5) == 8
    assert found.epochs_until(sign * 0.3) == 19
    assert found.epochs_until(sign * 0.2) == math.inf
    assert [found.best_within(e) for e in (7, 8, 18, 19)] == [sign * v for v in (math.inf, 0.5, 0.5, 0.3)]


def test_intervals_hold_the_truth_and_infinity():
    generator = np.random.default_rng(1)
    held = []
    for seed in range(60):
        interval = bootstrap([generator.normal(size=40)], median, seed, resamples=300)
        held.append(interval.low <= 0.0 <= interval.high)
        assert interval.low <= interval.value <= interval.high
    assert np.mean(held) > 0.85
    assert bootstrap([[1.0, math.inf, math.inf]], median).value == math.inf
    assert bootstrap([[1.0, 1.0, math.inf]], median).value == 1.0


def test_the_table_of_all_has_every_pair_and_a_halved_reference_is_seen():
    table = valley(noise=0.02)
    rows, target = compare(
        table, [named("random")], [named("none"), component("{name: sha}")], seeds=range(3), trials=10
    )
    pairs = {(row.sampler, row.pruner) for row in rows}
    assert pairs == {
        *[("tpe", "none"), ("tpe", "median"), ("random", "none"), ("random", "sha")],
        ("random", "best 3 after one epoch"),
    }
    text = markdown(rows, trials=10, budget=80, target=target)
    assert len(text.splitlines()) == 2 + len(rows)
    json.dumps([row.plain() for row in rows], allow_nan=False)

    slow = [Replay(table, tuple(Trial(i, 8, 1.0 if i < 9 else 0.0) for i in range(10)))] * 4
    fast = [Replay(table, tuple(Trial(i, 4, 1.0 if i < 9 else 0.0) for i in range(10)))] * 4
    assert summarise(("a", "b"), fast, slow, 0.0, 10, 80).share.value == pytest.approx(0.5)
    mixed = [*slow[:2], *fast[:2]]
    itself = summarise(("a", "b"), mixed, mixed, 0.0, 10, 80)
    assert (itself.share.low, itself.share.high) == (1.0, 1.0), "the same seeds were resampled apart"
    assert (itself.lost.value, itself.lost.low) == (0.0, 0.0)
    assert itself.lost.high == pytest.approx(1 - 0.025 ** (1 / 4)), "0 of 4 is no certainty"


def test_unknown_names_and_a_table_without_baseline_are_refused():
    table = valley()
    with pytest.raises(ConfigError, match="nonsense"):
        replay(table, named("nonsense"), named("none"), 0, 3, 0)
    with pytest.raises(ConfigError, match="nonsense"):
        replay(table, named("tpe"), named("nonsense"), 0, 3, 0)
    header = Header("meshhead", EPOCHS, 0, {}, table.study.model_dump(), "", "")
    with pytest.raises(ConfigError, match="baseline"):
        Table(header, table.curves[1:])


def test_the_sampler_is_told_what_was_tried():
    """What TPE learns from are the recorded parameters, not its own proposals."""
    table = valley()
    sampler = RecordedSampler(table, optuna.samplers.TPESampler(seed=0))
    study = optuna.create_study(sampler=sampler)
    for _ in range(15):
        trial = study.ask()
        table.study.suggest(trial)
        study.tell(trial, float(table.result(sampler.rows[-1])))
    assert [trial.params for trial in study.trials] == [table.curves[row].params for row in sampler.rows]

"""Replayed studies see what was recorded, and the figures say what happened: planted tables."""

import argparse
import json
import math
import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest

from benchmarks.search_efficiency import __main__ as program
from benchmarks.search_efficiency.coverage import simulate
from benchmarks.search_efficiency.curves import Curve, Header, Recording
from benchmarks.search_efficiency.figures import budget_of, compare, markdown
from benchmarks.search_efficiency.halving import BatchedHalving
from benchmarks.search_efficiency.methods import ORACLE, REFERENCE, UNPRUNED, methods, of_components, warm_started
from benchmarks.search_efficiency.noise import leave_one_out
from benchmarks.search_efficiency.promoters import promoted
from benchmarks.search_efficiency.replay import RecordedSampler, Replay, WorkerExit
from benchmarks.search_efficiency.replay import replay as replay_study
from benchmarks.search_efficiency.table import Table, from_unit, to_unit
from benchmarks.search_efficiency.telling import importances_of, telling
from benchmarks.search_efficiency.unoffered import OraclePruner, StartNearBaseline, WaitingPruner
from gazegaussian.errors import ConfigError
from helpers.search.parameters import Categorical, Float, Int
from helpers.search.study_config import Component

EPOCHS = 8
ROWS = 120
WARM_UP = 0.5
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


def recording(curves, params, space=SPACE, direction="minimize", statuses=None, seeds=None, purpose="choose"):
    """`curves`: of each configuration, or of each of its seeds."""
    study = {"study_name": "planted", "trials": 5, "direction": direction, "search_space": {"all": space}}
    header = Header("meshhead", purpose, EPOCHS, 1, "digest", {}, study, {}, "", "")
    lines = []
    for index, (own, values) in enumerate(zip(params, curves, strict=True)):
        for seed, curve in enumerate(values if seeds and index in seeds else [values]):
            metrics = {"val_loss": list(curve), "cpu_seconds": [2.0] * len(curve)}
            status = statuses[index] if statuses else "complete"
            lines.append(Curve(index, seed, "whole" if index else "baseline", own, status, metrics, 9.0, 2 * WARM_UP))
    return Recording(header, lines)


def planted(*arguments, **options):
    return Table(recording(*arguments, **options))


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


def play(table, sampler, pruner, seed, trials, workers=1):
    """Replay until so many trials were begun that none pruned would fill the horizon."""
    horizon = trials * (table.epochs + table.warm_up)
    return of_components(sampler, pruner)(table, seed, horizon, workers)


def test_a_study_sees_recorded_configurations_once_each_with_their_own_curves():
    table = valley(noise=0.3)
    played = play(table, named("tpe"), named("none"), 3, 20)
    rows = [trial.row for trial in played.trials]
    assert rows[0] == 0  # the baseline
    assert len(set(rows)) == len(rows) == 20
    assert all(trial.value == table.truths[trial.row] for trial in played.trials)
    assert [trial.spent for trial in played.trials] == [(EPOCHS + WARM_UP) * (i + 1) for i in range(20)]
    assert played.trials == play(table, named("tpe"), named("none"), 3, 20).trials
    assert played.trials != play(table, named("tpe"), named("none"), 4, 20).trials


def test_a_cold_study_begins_with_what_the_sampler_proposes():
    table = valley()
    cold = Table(recording([table.complete(row)[0].tolist() for row in range(ROWS)], table.params), cold=True)
    begun = [play(cold, named("tpe"), named("none"), seed, 2).trials[0].row for seed in range(8)]
    assert len(set(begun)) > 4
    middle = np.median([cold.regret(row) for row in range(ROWS)])
    assert middle == pytest.approx(1)  # regret is counted in median configurations: the baseline is nothing special
    assert table.regret(0) == pytest.approx(1)


def test_every_warm_up_is_paid_for_also_those_of_pruned_trials():
    table = valley()
    assert table.warm_up == WARM_UP
    played = play(table, named("random"), named("median", n_startup_trials=3, n_warmup_steps=0), 0, 20)
    paid = np.cumsum([trial.epochs + WARM_UP for trial in played.trials])
    assert any(trial.pruned for trial in played.trials)
    assert np.allclose([trial.spent for trial in played.trials], paid)
    assert played.spent(7) == pytest.approx(paid[6])


def test_the_nearest_unused_row_counts_what_matters():
    table = valley()
    assert table.weights.sum() == pytest.approx(1)
    assert table.weights[0] > 0.7
    for row in (5, 17):
        near = {**table.params[row], "idle": 1 - table.params[row]["idle"]}
        nearest = table.nearest(near, [])
        assert abs(table.points[nearest, 0] - table.points[row, 0]) < 0.02
        assert table.nearest(table.params[row], []) == row
        assert table.nearest(table.params[row], [row]) != row
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
    played = play(table, named("tpe"), named("none"), 0, 9)
    assert sorted(trial.row for trial in played.trials) == list(range(6)), "a used-up table ends the study"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_learning_samplers_beat_random_search_on_the_table(direction):
    table = valley(direction=direction)
    tried = {
        name: [
            table.regret(trial.row)
            for seed in range(6)
            for trial in play(table, named(name), named("none"), seed, 25).trials[10:]
        ]
        for name in ("tpe", "random")
    }
    assert np.mean(tried["tpe"]) < 0.6 * np.mean(tried["random"])


def test_pruning_on_curves_that_never_cross_saves_epochs_and_loses_nothing():
    table = valley()
    pruner = named("median", n_startup_trials=3, n_warmup_steps=1)
    for seed in range(5):
        pruned = play(table, named("random"), pruner, seed, 20)
        whole = play(table, named("random"), named("none"), seed, 20)
        assert [t.row for t in pruned.trials[:20]] == [t.row for t in whole.trials]
        assert pruned.spent(20) < 0.75 * whole.spent(20)
        end = np.array([whole.spent(20)])
        assert pruned.incumbents(end) <= whole.incumbents(end)


def test_diverged_configurations_cost_their_epochs_and_give_no_value():
    params = [{"lr": 1e-3, "width": 16, "idle": i / 4} for i in range(4)]
    curves = [[0.5] * EPOCHS, [0.1, 0.1, None], [0.01, 0.01], [0.4] * EPOCHS]
    table = planted(curves, params, statuses=["complete", "diverged", "failed", "complete"])
    played = play(table, named("random"), named("median"), 0, 4)
    assert {trial.row: trial.epochs for trial in played.trials} == {0: EPOCHS, 1: 3, 2: 2, 3: EPOCHS}
    assert {trial.row: trial.value for trial in played.trials} == {0: 0.5, 1: None, 2: None, 3: 0.4}
    assert not any(trial.pruned for trial in played.trials)
    assert np.isinf(table.truths[1:3]).all()


def repeated(rows=40, seeds=3, spread=0.2):
    """Every other configuration has three seeds, which differ by an offset of the whole curve."""
    generator = np.random.default_rng(4)
    params = [{"lr": 1e-3, "width": 16, "idle": i / rows} for i in range(rows)]
    chosen = range(0, rows, 2)
    curves = []
    for index in range(rows):
        curve = 1.0 + index / rows + np.exp(-0.5 * T)
        offsets = spread * generator.normal(size=seeds)
        curves.append([curve + offset for offset in offsets] if index in chosen else curve)
    return planted(curves, params, seeds=set(chosen)), curves


def test_a_seed_is_drawn_per_replay_and_the_truth_is_the_mean_over_seeds():
    table, curves = repeated()
    drawn = [table.draw(seed) for seed in range(60)]
    for row in (0, 2, 10):
        results = {one[row].result for one in drawn}
        assert results == {float(curve.min()) for curve in curves[row]}
        assert table.truths[row] == pytest.approx(np.mean([curve.min() for curve in curves[row]]))
    assert table.draw(5) == table.draw(5)
    played = play(table, named("random"), named("none"), 3, 20)
    assert all(trial.value == table.draw(3)[trial.row].result for trial in played.trials)


def test_a_configuration_with_one_seed_gets_the_measured_noise():
    table, curves = repeated(rows=80, spread=0.2)
    noise = np.array([[table.draw(seed)[row].values for row in range(1, 80, 2)] for seed in range(40)])
    noise -= np.array([curves[row] for row in range(1, 80, 2)])
    assert 0.14 < noise.std() < 0.26
    assert np.allclose(noise.std(axis=2), 0.0), "the noise of one training is one offset of its whole curve here"
    assert abs(noise.mean()) < 0.05
    quiet = valley()
    assert quiet.draw(1) == quiet.draw(2), "nothing was repeated, so no noise is known"


def test_noise_of_a_falling_curve_makes_no_best_epoch_of_one_that_has_arrived():
    generator = np.random.default_rng(0)
    # Seeds differ by a third of the value: a lot at first, little at the end.
    slow = 10.0 ** -np.linspace(-1, 1, EPOCHS)
    curves = [[slow * (1 + generator.normal() / 3) for _ in range(3)] for _ in range(12)]
    curves.append(np.full(EPOCHS, 0.1))
    params = [{"lr": 1e-3, "width": 16, "idle": index / 20} for index in range(13)]
    table = planted(curves, params, seeds=range(12))
    results = np.array([table.draw(seed)[12].result for seed in range(100)])
    assert abs(results.mean() - 0.1) < 0.5 * table.spread
    assert 0.3 * table.spread < results.std() < 1.7 * table.spread


def test_noise_of_configurations_left_out_is_that_of_their_seeds():
    generator = np.random.default_rng(0)
    params = [{"lr": float(10 ** generator.uniform(-5, -1)), "width": 16, "idle": 0.5} for _ in range(ROWS)]
    falls = [generator.uniform(1, 2) + np.exp(-0.5 * T) for _ in params]
    curves = [[fall + 0.1 * generator.normal() for _ in range(3)] for fall in falls]
    compared = leave_one_out(recording(curves, params, seeds=range(ROWS)))
    assert len(compared) == ROWS - 1  # not the baseline
    assert np.mean([one.bias for one in compared]) == pytest.approx(0, abs=0.02)
    spread, truth = np.sqrt(np.mean([(one.spread**2, one.truth**2) for one in compared], axis=0))
    assert truth < spread < 1.5 * truth, "what a first seed is worth is not known either"


def test_those_that_were_repeated_for_their_luck_make_no_others_lucky():
    generator = np.random.default_rng(0)
    rows = 120
    falls = [1.0 + np.exp(-0.5 * T) + 0.2 * generator.normal(size=(3, 1)) for _ in range(rows)]  # all are worth 1
    params = [{"lr": 1e-3, "width": 16, "idle": index / rows} for index in range(rows)]
    order = np.argsort([fall[0].min() for fall in falls])
    chosen = {0, *order[:30].tolist(), *generator.permutation(order[30:])[:15].tolist()}
    table = planted([list(fall) if row in chosen else fall[0] for row, fall in enumerate(falls)], params, seeds=chosen)
    others = np.array([table.truths[row] for row in range(rows) if row not in chosen])
    assert others.mean() == pytest.approx(1.0 + np.exp(-0.5 * T).min(), abs=0.06)
    lucky = [int(np.argmin([drawn.result for drawn in table.draw(seed)])) for seed in range(60)]
    assert 0.2 < np.mean([row in chosen for row in lucky]) < 0.8, "45 of 120"


def test_the_incumbent_is_chosen_by_what_was_seen_and_judged_by_the_truth():
    table, _ = repeated()
    trials = (
        WorkerExit(4, 8, 1.5, 8.5),
        WorkerExit(6, 3, None, 12.0, pruned=True),
        WorkerExit(20, 8, 1.2, 20.5),  # lucky: its truth is worse
        WorkerExit(8, 8, 1.3, 29.0),  # better in truth, but it does not look so
    )
    regrets = Replay(table, trials).incumbents(np.array([8.0, 8.5, 20.0, 20.5, 40.0]))
    worst = max(table.regret(row) for row in range(len(table)))
    assert regrets.tolist() == [worst, table.regret(4), table.regret(4), table.regret(20), table.regret(20)]
    assert table.regret(20) > table.regret(4)
    assert table.regret(0) == 1.0
    assert min(table.regret(row) for row in range(len(table))) == 0.0


def shifted(replays, factor):
    return [Replay(one.table, tuple(replace(t, spent=t.spent * factor) for t in one.trials)) for one in replays]


def test_the_reference_is_one_and_twice_as_fast_is_a_half():
    table = valley(noise=0.02)
    reference = [play(table, named("tpe"), named("median"), seed, 20) for seed in range(10)]
    budget = budget_of(reference, 12)
    rows = compare(
        {"ref": reference, "fast": shifted(reference, 0.5), "slow": shifted(reference, 4)}, "ref", budget, 2 * budget
    )
    by_name = {row.method: row for row in rows}
    one = by_name["ref"].share
    assert (one.value, one.low, one.high) == (1.0, 1.0, 1.0)
    assert (by_name["ref"].difference.low, by_name["ref"].difference.high) == (0.0, 0.0)
    half = by_name["fast"].share
    assert half.value == pytest.approx(0.5, abs=0.01)
    assert half.high - half.low < 0.02, "paired: the luck of a seed is in both"
    assert by_name["slow"].share.value == math.inf
    assert by_name["slow"].never.value > by_name["ref"].never.value
    assert by_name["slow"].never.low < by_name["slow"].never.value <= by_name["slow"].never.high
    assert by_name["fast"].regret.value <= by_name["ref"].regret.value
    assert by_name["fast"].trials > by_name["ref"].trials == 12
    text = markdown(rows, budget)
    assert len(text.splitlines()) == 2 + 3
    assert "| ref | 10 | 1.00 [1.00, 1.00] |" in text
    json.dumps([row.plain() for row in rows], allow_nan=False)


def test_intervals_of_a_difference_hold_the_truth():
    """Two methods that differ by 0.1 in regret on every seed's own luck."""
    table = valley()
    held = []
    truths = np.array([table.regret(row) for row in range(len(table))])
    by_regret = np.argsort(truths)
    generator = np.random.default_rng(8)
    expected = np.mean(truths[by_regret[30:60]]) - np.mean(truths[by_regret[:60]])
    for trial in range(60):
        better = [Replay(table, (WorkerExit(int(r), 8, 0.0, 1.0),)) for r in generator.choice(by_regret[:60], 30)]
        worse = [Replay(table, (WorkerExit(int(r), 8, 0.0, 1.0),)) for r in generator.choice(by_regret[30:60], 30)]
        rows = compare({"ref": better, "worse": worse}, "ref", 4.0, 8.0, seed=trial)
        interval = next(row for row in rows if row.method == "worse").difference
        held.append(interval.low <= expected <= interval.high)
    assert np.mean(held) > 0.85


def test_the_intervals_of_simulated_comparisons_hold_the_truth():
    truth, held = simulate(runs=40, seeds=20, population=80)
    assert truth.share.value < 1.0
    assert min(held["A"], held["E minus the reference's"]) > 0.8
    assert held["E"] > 0.7


def test_two_workers_share_the_time_and_the_sampler_sees_who_runs():
    table = valley(noise=0.1)
    seen = []

    class Spy(optuna.samplers.RandomSampler):
        def sample_relative(self, study, trial, search_space):
            running = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
            seen.append(sum(bool(other.params) for other in running))
            return {}

    def never(table, drawn, chosen):
        return optuna.pruners.NopPruner()

    played = replay_study(table, lambda table, seed: Spy(seed), never, 0, 20 * (EPOCHS + WARM_UP), 2)
    assert set(seen) == {1}, "the other worker's trial runs, with its parameters"
    assert len({trial.row for trial in played.trials}) == len(played.trials) == 20
    assert [trial.spent for trial in played.trials[:4]] == [17.0, 17.0, 34.0, 34.0]


def test_the_oracle_loses_nothing_and_spends_least():
    table = valley(noise=0.05)
    for seed in range(3):
        horizon = 25 * (EPOCHS + WARM_UP)
        runs = {name: methods()[name](table, seed, horizon, 1) for name in (ORACLE, UNPRUNED)}
        rows = [trial.row for trial in runs[ORACLE].trials]
        assert all(not t.pruned or t.epochs == 1 for t in runs[ORACLE].trials)
        complete = [trial.value for trial in runs[ORACLE].trials if trial.value is not None]
        assert complete == sorted(complete, reverse=True), "each one that it lets end is the best so far"
        assert len(rows) > 2 * len(runs[UNPRUNED].trials)


def test_the_waiting_pruner_waits_until_curves_stop_crossing():
    generator = np.random.default_rng(0)

    def study_of(noise_until):
        study = optuna.create_study()
        for final in generator.uniform(size=12):
            trial = study.ask()
            for epoch in range(EPOCHS):
                trial.report(float(generator.normal() if epoch < noise_until else final), epoch)
            study.tell(trial, float(final))
        return study

    for noise_until in (0, 3, 5):
        study = study_of(noise_until)
        trial = study.ask()
        ends = []
        for epoch in range(EPOCHS - 1):
            trial.report(9.0, epoch)
            if WaitingPruner(EPOCHS).prune(study, study.trials[trial.number]):
                ends.append(epoch)
        assert ends[0] == noise_until
    assert not WaitingPruner(EPOCHS, startup=20).prune(study, study.trials[trial.number])


def test_start_up_steps_near_the_baseline_stay_in_the_space():
    table = valley()
    sampler = StartNearBaseline(table, seed=1, startup=10, step=0.15)
    study = optuna.create_study(sampler=sampler)
    for _ in range(14):
        trial = study.ask()
        params = table.study.suggest(trial)
        study.tell(trial, (np.log10(params["lr"]) + 3) ** 2)
    away = np.array([abs(table.encode(t.params)[0] - table.points[0][0]) for t in study.trials[:11]])
    assert (away[1::2] < 0.6).all()
    assert np.mean(away[1::2]) < 0.2
    assert len({t.params["lr"] for t in study.trials}) == 14


def test_the_unit_cube_and_back():
    spaces = [
        (Float(type="float", min=1e-5, max=1e-1, log=True), 1e-3),
        (Float(type="float", min=0.1, max=0.3, step=0.1), 0.2),
        (Int(type="int", min=4, max=9, step=2), 6),
        (Categorical(type="categorical", choices=[4, 8, 16]), 8),
    ]
    for space, value in spaces:
        assert from_unit(space, to_unit(space, value)) == pytest.approx(value)
        for unit in (-0.3, 0.0, 0.37, 1.0, 1.7):
            assert space.contains(from_unit(space, unit))


def test_batched_halving_promotes_half_of_a_rung_and_what_is_near_the_cut():
    table = valley()
    strict = BatchedHalving(batch=8, margin=0.0)(table, 0, 30.0, 1)
    assert sorted(trial.epochs for trial in strict.trials[:8]) == [1, 1, 1, 1, 2, 2, 4, 8]
    assert strict.trials[7].spent == pytest.approx(8 * WARM_UP + 8 + 4 + 2 * 2 + 4)
    lenient = BatchedHalving(batch=8, margin=10.0)(table, 0, 30.0, 1)
    assert [trial.epochs for trial in lenient.trials[:8]] == [8] * 8
    finals = [table.truths[trial.row] for trial in strict.trials[:8]]
    assert next(t for t in strict.trials[:8] if t.value is not None).value == pytest.approx(min(finals))


def test_a_warm_started_study_knows_the_other_file_but_does_not_own_its_results():
    table = valley(noise=0.02)
    earlier = valley(noise=0.0)
    played = warm_started(earlier)(table, 0, 6 * (EPOCHS + WARM_UP), 1)
    assert played.trials[0].row == 0
    assert all(trial.row < len(table) for trial in played.trials)
    late = np.array([5 * (EPOCHS + WARM_UP)])
    cold = [play(table, named("tpe"), named("none"), s, 6).incumbents(late)[0] for s in range(6)]
    warm = [warm_started(earlier)(table, s, 6 * (EPOCHS + WARM_UP), 1).incumbents(late)[0] for s in range(6)]
    assert np.mean(warm) < np.mean(cold)


def test_every_method_replays_and_all_are_compared():
    table = valley(noise=0.05)
    rows, budget = program.run(table, methods(), seeds=range(2), trials=6, patience=1.0, workers=1)
    assert {row.method for row in rows} == methods().keys()
    assert budget == pytest.approx(6 * (EPOCHS + WARM_UP), rel=0.4)
    two, _ = program.run(table, {REFERENCE: methods()[REFERENCE]}, range(2), trials=6, patience=1.0, workers=2)
    assert two[0].share.value == 1.0


def test_importances_of_a_replay_are_those_of_the_trials_that_it_saw():
    table = valley(noise=0.05)
    run = methods()["tpe, median (2, 1)"](table, 0, 10 * (EPOCHS + WARM_UP), 2)
    found = importances_of(run, table.draw(0), 10)
    assert found.trials == min(10, len(run.trials))
    assert found.names[0] == "lr"
    names = ("tpe, median (2, 1)", REFERENCE)
    assert {name: len(studies) for name, studies in telling(table, names, 2).items()} == dict.fromkeys(names, 2)


def test_a_file_to_choose_by_is_never_reported_on(tmp_path, capsys, monkeypatch):
    paths = {}
    params = [{"lr": 1e-3, "width": 16, "idle": i / 20} for i in range(20)]
    for purpose in ("choose", "report"):
        content = recording([(1 + i / 9 + np.exp(-T)).tolist() for i in range(20)], params, purpose=purpose)
        paths[purpose] = tmp_path / f"{purpose}.jsonl"
        lines = [json.dumps(vars(content.header)), *(curve.line() for curve in content.curves)]
        paths[purpose].write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"recorded with other sizes .*image_size: 512 -> 128"):
        program.load(paths["report"], "report")  # its header has the default run configuration
    monkeypatch.setattr(program, "require_quick_sizes", lambda *arguments: None)
    for purpose, other in (("choose", "report"), ("report", "choose")):
        assert len(program.load(paths[purpose], purpose)) == 20
        with pytest.raises(ConfigError, match=f"recorded to {other}, not to {purpose}.*meshhead_{purpose}.jsonl"):
            program.load(paths[other], purpose)
    args = ["report", str(paths["report"]), "--methods", "tpe, curve (0.25)", "--seeds", "2", "--trials", "3"]
    monkeypatch.setattr(sys, "argv", ["search", *args, "--add", "random + none", "--json", str(tmp_path / "out.json")])
    program.main()
    said = capsys.readouterr().out
    assert "meshhead, to report: 20 configurations (1 baseline, 19 whole), one training seed each" in said
    shown = json.loads((tmp_path / "out.json").read_text())
    assert {row["method"] for row in shown["rows"]} == {*program.ALWAYS, "tpe, curve (0.25)", "random + none"}
    monkeypatch.setattr(sys, "argv", ["search", "report", str(paths["choose"])])
    with pytest.raises(SystemExit):
        program.main()
    assert "recorded to choose" in capsys.readouterr().err


def test_unknown_names_and_a_table_without_baseline_are_rejected():
    table = valley()
    with pytest.raises(ConfigError, match="nonsense"):
        play(table, named("nonsense"), named("none"), 0, 3)
    with pytest.raises(ConfigError, match="nonsense"):
        program.chosen_methods(["nonsense"], "report")
    assert list(program.chosen_methods([], "report")) == list(program.ALWAYS)
    for text in ("tpe", "tpe + [1]", "{name + x"):
        with pytest.raises(argparse.ArgumentTypeError):
            program.parse_method(text)
    content = recording([[0.5] * EPOCHS] * 2, [{"lr": 1e-3, "width": 16, "idle": 0.5}] * 2)
    with pytest.raises(ConfigError, match="baseline"):
        Table(Recording(content.header, content.curves[1:]))


def test_the_sampler_is_told_what_was_tried():
    """What TPE learns from are the recorded parameters, not its own proposals."""
    table = valley()
    sampler = RecordedSampler(table, optuna.samplers.TPESampler(seed=0))
    study = optuna.create_study(sampler=sampler, pruner=OraclePruner(table, table.draw(0), sampler))
    for _ in range(15):
        trial = study.ask()
        table.study.suggest(trial)
        study.tell(trial, float(table.truths[sampler.rows[trial.number]]))
    assert [trial.params for trial in study.trials] == [table.params[row] for row in sampler.rows.values()]


class Halving:
    """Asks for two rows with one epoch each, then for the first with all, then for one that diverges."""

    def __init__(self, table, seed):
        orders = [(0, 1), (1, 1), (0, EPOCHS), (2, EPOCHS)]
        self.orders = [(row, table.params[row], epochs) for row, epochs in orders]
        self.told = []

    def ask(self):
        return self.orders[len(self.told)]

    def tell(self, value):
        self.told.append(value)


def test_a_promoted_configuration_pays_for_its_new_epochs_and_a_failure_is_the_worst():
    params = [{"lr": lr, "width": 16, "idle": 0.5} for lr in (1e-4, 1e-3, 1e-2)]
    curves = [np.linspace(4.0, 1.0, EPOCHS), np.linspace(5.0, 4.0, EPOCHS), [3.0, None]]
    table = planted(curves, params, statuses=["complete", "complete", "diverged"])
    searches = []

    def make(*arguments):
        searches.append(Halving(*arguments))
        return searches[-1]

    played = promoted(make)(table, 0, 2 * (1 + table.warm_up) + EPOCHS, 1)
    assert [trial.row for trial in played.trials] == [0, 1, 0, 2]
    first = 1 + table.warm_up
    after_promotion = 2 * first + EPOCHS - 1
    assert [trial.spent for trial in played.trials] == [
        first,
        2 * first,
        after_promotion,
        after_promotion + table.warm_up + EPOCHS,
    ]
    assert [trial.value for trial in played.trials] == [None, None, 1.0, None]
    assert searches[0].told == [4.0, 5.0, 1.0, math.inf]

"""What a study will cost: an epoch with planted times and sizes, scaled; pruning from the pruner or from trials; rejection."""

import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch
from audit_support import TinyStage
from optuna.trial import TrialState, create_trial

from gazegaussian.config import GazeGaussianRun
from gazegaussian.errors import ConfigError, NonFiniteError
from helpers.analysis.estimate import estimate_study
from helpers.analysis.expected_epochs import earliest_pruned_epoch
from helpers.analysis.peak_memory import PeakMemory
from helpers.search.space import StudyFile
from helpers.storage.backends import open_storage
from helpers.study.spec import StudySpec, WorkerPool
from helpers.utils.formatting import duration

LR = {"type": "float", "min": 1e-4, "max": 1e-1, "log": True}
WEIGHTS = 2_000_000  # floats: 8 MB of parameters


class SlowStage(TinyStage):
    """Every part takes a time that the estimate must find again."""

    def __init__(self, config, start=0.15, step=0.02):
        super().__init__(config)
        self.start = start
        self.step = step
        self.module["ballast"] = torch.nn.Linear(1, WEIGHTS // 2)

    def parameter_groups(self, optim):
        trained = [p for name, p in self.module.named_parameters() if not name.startswith("ballast")]
        return [{"name": "all", "params": trained, "lr": optim.lr}]

    def prepare(self):
        time.sleep(self.start)

    def losses(self, batch, epoch):
        time.sleep(self.step)
        terms = super().losses(batch, epoch)
        assert "vgg" in terms, "the epoch that is measured lacks a loss term that later epochs have"
        return terms


def spec(tmp_path, **changes):
    content = {"study_name": "toy", "trials": 8, "epochs": 10, "search_space": {"all": {"lr": LR}}, **changes}
    run = GazeGaussianRun(training={"device": "cpu", "batch_size": 2})
    return StudySpec(run, StudyFile.model_validate(content), tmp_path, check=lambda config: time.sleep(0.1))


def test_parts_of_a_trial_are_measured_apart_and_scaled(tmp_path):
    started = time.perf_counter()
    estimate = estimate_study(spec(tmp_path, pruner={"name": "none"}), SlowStage)
    elapsed = time.perf_counter() - started
    seen = estimate.measured
    assert seen.data_seconds >= 0.1
    assert seen.warm_start_seconds >= 0.15
    assert seen.seconds_per_epoch >= 6 * 0.02  # twelve images, two a batch
    parts = seen.data_seconds + seen.build_seconds + seen.warm_start_seconds + seen.seconds_per_epoch
    assert parts <= elapsed, "something is counted twice"
    assert estimate.epochs_expected == estimate.epochs_most == 80
    expected = seen.data_seconds + 8 * (seen.build_seconds + seen.warm_start_seconds) + 80 * seen.seconds_per_epoch
    assert estimate.seconds_low == estimate.seconds_high == pytest.approx(expected)
    assert "no pruning" in estimate.assumption


def test_trials_side_by_side_share_the_time_as_the_study_will_run_them(tmp_path):
    asked = replace(spec(tmp_path, pruner={"name": "none"}), pool=WorkerPool(4))
    estimate = estimate_study(asked, SlowStage)
    seen = estimate.measured
    work = 8 * (seen.build_seconds + seen.warm_start_seconds) + 80 * seen.seconds_per_epoch
    assert estimate.seconds_low == pytest.approx(seen.data_seconds + work / 4)
    rows = {row["what"]: row["value"] for row in estimate.rows()}
    assert rows["side by side"] == "4 trials"
    assert rows["memory"].endswith("for each trial")


def test_sizes_are_those_of_the_files_and_nothing_is_left_behind(tmp_path):
    estimate = estimate_study(spec(tmp_path), SlowStage)
    assert estimate.checkpoint_mb == pytest.approx(4 * WEIGHTS / 1e6, rel=0.02)
    assert estimate.disk_gb == pytest.approx(8 * 2 * estimate.checkpoint_mb / 1e3, rel=0.02)
    assert estimate.free_gb == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, rel=0.05)
    assert estimate.peak_memory_gb > 4 * WEIGHTS / 1e9
    assert list(tmp_path.iterdir()) == []


def test_pruning_is_assumed_with_a_sentence_that_says_so(tmp_path):
    estimate = estimate_study(spec(tmp_path), SlowStage)
    earliest = earliest_pruned_epoch(spec(tmp_path), 10)
    assert earliest == 6  # Median(3, 5): the first report after five epochs
    assert estimate.epochs_expected == 8 * (0.5 * 10 + 0.5 * earliest)
    assert estimate.epochs_most == 80
    assert estimate.seconds_low < estimate.seconds_high
    assert "50% of the trials are taken to be pruned after epoch 6" in estimate.assumption


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("pruner", "low", "high"),
    [
        ({"name": "median", "kwargs": {"n_startup_trials": 2, "n_warmup_steps": 3}}, 4, 4),
        ({"name": "hyperband"}, 1, 6),
        ({"name": "sha"}, 2, 4),
        ({"name": "optuna.pruners.ThresholdPruner", "kwargs": {"upper": 50, "lower": -50, "n_warmup_steps": 1}}, 2, 2),
    ],
)
def test_the_pruner_itself_tells_when_it_can_act(tmp_path, pruner, low, high, direction):
    assert low <= earliest_pruned_epoch(spec(tmp_path, pruner=pruner, direction=direction, trials=30), 10) <= high


def test_a_pruner_that_needs_more_trials_than_the_study_has_saves_nothing(tmp_path):
    late = {"name": "median", "kwargs": {"n_startup_trials": 20}}
    assert earliest_pruned_epoch(spec(tmp_path, pruner=late), 10) is None
    assert earliest_pruned_epoch(spec(tmp_path, pruner={"name": "none"}), 10) is None


def created_study(spec, pruned, complete, length=6):
    spec.folder.mkdir(parents=True)
    study = optuna.create_study(study_name="toy", storage=open_storage(spec.storage, spec.folder))
    for state, count, epochs in ((TrialState.PRUNED, pruned, length), (TrialState.COMPLETE, complete, 10)):
        for _ in range(count):
            values = dict.fromkeys(range(epochs), 1.0)
            study.add_trial(create_trial(state=state, value=1.0, intermediate_values=values))


def test_finished_trials_are_taken_off_and_tell_the_share_of_pruned_ones(tmp_path):
    known = spec(tmp_path, trials=18)
    created_study(known, pruned=6, complete=2, length=4)
    estimate = estimate_study(known, SlowStage)
    assert estimate.trials == 10
    assert estimate.epochs_expected == pytest.approx(10 * (0.25 * 10 + 0.75 * 4))
    assert "75% of the trials are pruned, after 4.0 epochs on average, as measured on 8" in estimate.assumption


def test_a_finished_study_costs_nothing_more(tmp_path):
    known = spec(tmp_path, trials=6)
    created_study(known, pruned=2, complete=4)
    estimate = estimate_study(known, SlowStage)
    assert (estimate.trials, estimate.epochs_most, estimate.disk_gb) == (0, 0, 0)


def test_a_timeout_ends_the_bill(tmp_path):
    estimate = estimate_study(replace(spec(tmp_path), timeout=1.0), SlowStage)
    assert estimate.seconds_high == 1.0


class Extended:
    """A study file with other values of some attributes."""

    def __init__(self, study, **changes):
        self.study = study
        self.changes = changes

    def __getattr__(self, name):
        return self.changes[name] if name in self.changes else getattr(self.study, name)


def extended(spec, **changes):
    return replace(spec, study=Extended(spec.study, **changes))


def test_thinned_checkpoints_need_less_disk(tmp_path):
    every = estimate_study(extended(spec(tmp_path), keep_best=None), SlowStage)
    two = estimate_study(extended(spec(tmp_path), keep_best=2), SlowStage)
    assert two.disk_gb == pytest.approx(
        every.disk_gb * 4 / 8, rel=0.02
    )  # two, the baseline and the running one of eight


def test_budgets_end_the_bill(tmp_path):
    budget = SimpleNamespace(timeout=50.0, max_compute=2.0, max_total_epochs=30, min_epochs=None)
    known = extended(spec(tmp_path, trials=8), budget=budget)
    created_study(known, pruned=1, complete=1, length=5)
    estimate = estimate_study(known, SlowStage)
    assert (estimate.epochs_expected, estimate.epochs_most) == (15, 15)
    assert estimate.seconds_high == 2.0
    assert "the budget allows 15 epochs more" in estimate.assumption


def test_several_objectives_are_not_pruned(tmp_path):
    known = extended(spec(tmp_path), multi=True, metrics=["val_loss", "other"])
    estimate = estimate_study(known, SlowStage)
    assert estimate.epochs_expected == estimate.epochs_most
    assert "several objectives" in estimate.assumption


def test_a_disk_that_will_not_do_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50e6))
    with pytest.raises(ConfigError, match=r"needs about 0\.128 GB at .* and 0\.05 GB are free") as caught:
        estimate_study(spec(tmp_path), SlowStage)
    assert "\n" not in str(caught.value)
    assert estimate_study(spec(tmp_path), SlowStage, reject=False).disk_gb > 0.05


def test_a_disk_without_room_for_one_checkpoint_is_refused(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gazegaussian.training.trainer.save_checkpoint", full)
    with pytest.raises(ConfigError, match="No space left in"):
        estimate_study(spec(tmp_path), SlowStage)


@pytest.mark.parametrize(
    ("error", "advice"),
    [(torch.OutOfMemoryError("CUDA out of memory"), "batch_size 1"), (NonFiniteError("bad loss"), "smaller lr")],
)
def test_a_baseline_that_cannot_train_is_refused_with_advice(tmp_path, error, advice):
    class Broken(SlowStage):
        def losses(self, batch, epoch):
            raise error

    with pytest.raises(ConfigError, match=advice):
        estimate_study(spec(tmp_path), Broken)


def test_rows_are_for_people(tmp_path):
    rows = {row["what"]: row["value"] for row in estimate_study(spec(tmp_path), SlowStage).rows()}
    assert rows["epochs"] == "64 to 80"
    assert " to " in rows["training time, all trials"]
    assert "GPU memory" not in rows
    assert rows["trials still to run"] == "8, up to 10 epochs each"
    assert [duration(s) for s in (0.1234, 99, 150, 7200)] == ["0.123 s", "99 s", "2 min", "2 h 00 min"]


def test_a_range_of_one_value_is_that_value(tmp_path):
    estimate = estimate_study(spec(tmp_path), SlowStage)
    certain = replace(estimate, epochs_expected=float(estimate.epochs_most), seconds_low=estimate.seconds_high)
    rows = {row["what"]: row["value"] for row in certain.rows()}
    assert rows["epochs"] == "80"
    assert rows["training time, all trials"] == duration(estimate.seconds_high)


def test_peak_memory_is_seen_though_it_is_given_back():
    with PeakMemory(torch.device("cpu")) as memory:
        before = memory.process_bytes
        ballast = np.ones(25_000_000)  # 200 MB
        time.sleep(0.15)
        del ballast
    assert memory.process_bytes - before > 150e6

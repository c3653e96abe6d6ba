"""What a study will cost, before it starts: one measured epoch of the baseline, scaled by trials and epochs."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gazegaussian.build import build_stage, cpu_threads
from gazegaussian.config import RunConfig, with_parameters
from gazegaussian.errors import ConfigError, NonFiniteError, first_line
from gazegaussian.training.hooks import Hook
from gazegaussian.training.step import resolve_device
from gazegaussian.training.trainer import Trainer
from gazegaussian.utils.counts import counted
from helpers.analysis.expected_epochs import EpochForecast, expected_epochs
from helpers.analysis.peak_memory import PeakMemory
from helpers.analysis.short_training import Build, quiet_package, without_delays
from helpers.results.lookup import created_study, study_in_memory
from helpers.study.trial import release_memory
from helpers.study.workers.plan import WorkerPlan, plan_workers
from helpers.utils.formatting import duration
from helpers.utils.paths import existing_folder

if TYPE_CHECKING:
    from helpers.study.spec import StudySpec

logger = logging.getLogger(__name__)

GB = 1e9
MB = 1e6


@dataclass(frozen=True)
class Measured:
    """One epoch of the baseline, as it was seen."""

    data_seconds: float  # once per study: data made or checked
    build_seconds: float  # per trial: model and data set opened
    warm_start_seconds: float  # per trial
    seconds_per_epoch: float  # training, validation, checkpoints, pictures; all loss terms on
    peak_memory_gb: float  # of this process
    peak_gpu_gb: float | None  # reserved on the device; None on the CPU
    checkpoint_mb: float  # the larger of best.pt and last.pt
    checkpoints_gb: float  # per trial whose checkpoints stay
    other_gb_per_epoch: float  # pictures and tables


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of the trials that a study still has to run."""

    measured: Measured
    trials: int  # still to run
    epochs_per_trial: int
    epochs_expected: float  # with the pruning that `assumption` tells
    epochs_most: int  # without any pruning
    seconds_low: float  # of `epochs_expected`
    seconds_high: float  # of `epochs_most`
    disk_gb: float
    free_gb: float
    folder: Path  # where the disk is
    assumption: str
    device: str
    workers: int = 1  # trials side by side
    gpu_remark: str = ""  # of the GPU memory that the configuration names

    @property
    def seconds_per_epoch(self) -> float:
        """Measured, in seconds."""
        return self.measured.seconds_per_epoch

    @property
    def peak_memory_gb(self) -> float:
        """Measured on the device where there is one, else of the process."""
        gpu = self.measured.peak_gpu_gb
        return self.measured.peak_memory_gb if gpu is None else gpu

    @property
    def checkpoint_mb(self) -> float:
        """Measured size of one checkpoint."""
        return self.measured.checkpoint_mb

    def rows(self) -> list[dict[str, str]]:
        """One row per finding, for tables."""
        seen = self.measured
        findings = {
            "trials still to run": f"{self.trials}, up to {counted(self.epochs_per_trial, 'epoch')} each",
            "side by side": f"{self.workers} trials" if self.workers > 1 else "",
            "epochs": _span(f"{self.epochs_expected:.0f}", str(self.epochs_most)),
            "one epoch": f"{duration(seen.seconds_per_epoch)} on {self.device} (measured, baseline)",
            "start of each trial": f"{duration(seen.build_seconds + seen.warm_start_seconds)} "
            f"(warm start {duration(seen.warm_start_seconds)})",
            "data, once": duration(seen.data_seconds),
            "training time, all trials": _span(duration(self.seconds_low), duration(self.seconds_high)),
            "pruning": self.assumption,
            "memory": f"{seen.peak_memory_gb:.2f} GB" + (" for each trial" if self.workers > 1 else ""),
            "GPU memory": "" if seen.peak_gpu_gb is None else f"{seen.peak_gpu_gb:.2f} GB{self.gpu_remark}",
            "checkpoint": f"{seen.checkpoint_mb:.1f} MB",
            "disk": f"{self.disk_gb:.2f} GB of {self.free_gb:.1f} GB free at {self.folder}",
        }
        return [{"what": what, "value": value} for what, value in findings.items() if value]

    def raise_if_disk_short(self) -> None:
        """Reject a study that would fill the disk.

        Raises:
            ConfigError: With the need, what is free and what to change.
        """
        if self.disk_gb > self.free_gb:
            raise ConfigError(
                f"The study needs about {self.disk_gb:.3g} GB at {self.folder} and {self.free_gb:.3g} GB are free. Free "
                "some, give another --out or run fewer trials."
            )


def estimate_study(spec: StudySpec, build: Build = build_stage, reject: bool = True) -> Estimate:
    """Measure one epoch of the baseline in a temporary folder and scale it to the study.

    The first epoch also reads the images and compiles kernels, so the estimate is rather too high. Searched values that
    make an epoch longer or shorter than the baseline's are not looked at. Trials side by side are taken not to slow each
    other down: each has a core of its own.

    Args:
        spec: The study; trials that it has finished are taken off, and tell how many are pruned.
        build: Makes the stage that is to be tuned.
        reject: Raise when the disk will not do.

    Raises:
        ConfigError: The disk will not do, or the baseline cannot be trained here.
        UserError: Data, checkpoint or device cannot be used.

    >>> estimate = helpers.estimate_study(helpers.default_spec("digits", n_trials=5, epochs=2, study_name="estimated"))
    >>> estimate.trials, estimate.epochs_most
    (5, 10)
    """
    study = spec.study
    config = without_delays(spec.config)
    epochs = study.epochs or config.training.epochs
    forecast = expected_epochs(spec, epochs)
    plan = _plan(spec)
    with cpu_threads(plan.threads):
        measured, device = _measure(spec, with_parameters(config, {"epochs": 1, "monitor": study.metrics[0]}), build)
    release_memory()  # of the GPU: the trials, in processes of their own, need all of it
    once = measured.build_seconds + measured.warm_start_seconds
    low, high = (
        measured.data_seconds + (forecast.trials * once + count * measured.seconds_per_epoch) / plan.workers
        for count in (forecast.epochs_expected, forecast.epochs_most)
    )
    compute = study.budget.max_compute  # seconds of all trials together
    limits = (spec.timeout, study.budget.timeout, None if compute is None else compute / plan.workers)
    caps = [limit for limit in limits if limit is not None]
    folder = existing_folder(spec.folder)
    estimate = Estimate(
        measured,
        forecast.trials,
        epochs,
        forecast.epochs_expected,
        forecast.epochs_most,
        min([low, *caps]),
        min([high, *caps]),
        _disk(measured, forecast, study.keep_best),
        shutil.disk_usage(folder).free / GB,
        folder,
        forecast.assumption,
        device,
        workers=plan.workers,
        gpu_remark=_gpu_remark(config, measured.peak_gpu_gb),
    )
    if reject:
        estimate.raise_if_disk_short()
    return estimate


def _gpu_remark(config: RunConfig, peak: float | None) -> str:
    """Compare what was measured with what the configuration says that it needs."""
    named = config.training.gpu_memory_gb
    if peak is None or named is None:
        return ""
    if peak > named:
        return f", more than the {named:g} GB that training.gpu_memory_gb names: raise it"
    return f" of the {named:g} GB that training.gpu_memory_gb names"


def _plan(spec: StudySpec) -> WorkerPlan:
    """How many trials `study` would run side by side here, with how many threads; of a cluster nothing is known."""
    if spec.pool is None or spec.pool.ray is not None:
        return WorkerPlan(1)
    study = created_study(spec.study.study_name, spec.folder, spec.storage)
    return plan_workers(spec, study or study_in_memory(directions=spec.study.directions))


def _disk(measured: Measured, forecast: EpochForecast, keep_best: int | None) -> float:
    """Gigabytes: checkpoints of the best trials, the baseline and the running one, pictures and tables of all."""
    kept = forecast.trials if keep_best is None else min(forecast.trials, keep_best + 2)
    return kept * measured.checkpoints_gb + forecast.epochs_most * measured.other_gb_per_epoch


class _FitStart(Hook):
    """Notes when the warm start is over."""

    seconds = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        """Look at the clock."""
        self.seconds = time.perf_counter()


def _measure(spec: StudySpec, config: RunConfig, build: Build) -> tuple[Measured, str]:
    """Train one epoch; returns what was seen and the device's name."""
    clock = time.perf_counter
    started = clock()
    fit_start = _FitStart()
    try:
        spec.check(config)
        checked = clock()
        logger.info("estimate: one epoch of the baseline")
        with tempfile.TemporaryDirectory(prefix="estimate_") as name, quiet_package(), torch.random.fork_rng():
            folder = Path(name)
            with PeakMemory(resolve_device(config.training.device)) as memory:
                torch.manual_seed(config.training.seed)
                stage = build(config)
                built = clock()
                content = config.model_dump(mode="json")
                trainer = Trainer(stage, config.training, config.optim, folder, [fit_start], content)
                trainer.fit()
                ended = clock()
            sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"The baseline does not fit into the GPU's memory: {first_line(error)} Use batch_size 1."
        ) from error
    except NonFiniteError as error:
        raise ConfigError(f"The baseline diverges in its first epoch ({error}). Use a smaller lr.") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ConfigError(
            f"No space left in {tempfile.gettempdir()} for one checkpoint. Free some or set TMPDIR."
        ) from error
    checkpoints = [size for path, size in sizes.items() if path in (trainer.best_path, trainer.last_path)]
    measured = Measured(
        data_seconds=checked - started,
        build_seconds=built - checked,
        warm_start_seconds=fit_start.seconds - built,
        seconds_per_epoch=ended - fit_start.seconds,
        peak_memory_gb=memory.process_bytes / GB,
        peak_gpu_gb=None if memory.gpu_bytes is None else memory.gpu_bytes / GB,
        checkpoint_mb=max(checkpoints) / MB,
        checkpoints_gb=sum(checkpoints) / GB,
        other_gb_per_epoch=(sum(sizes.values()) - sum(checkpoints)) / GB,
    )
    return measured, trainer.device.type


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
